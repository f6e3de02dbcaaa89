/**
 * Lets transformers.js alone continue a prompt about a picture, and prints the new token ids.
 *
 *     node test/generate.js FOLDER IMAGE PROMPT N_TOKENS
 */

import path from 'node:path';

import {
  AutoProcessor,
  LlavaOnevisionForConditionalGeneration,
  RawImage,
  env,
} from '@huggingface/transformers';

const [folder, image, prompt, nTokens] = process.argv.slice(2);
env.localModelPath = path.dirname(path.resolve(folder));
env.allowRemoteModels = false;
const name = path.basename(folder);
const processor = await AutoProcessor.from_pretrained(name);
const model = await LlavaOnevisionForConditionalGeneration.from_pretrained(name);
const inputs = await processor(await RawImage.read(image), prompt, { add_special_tokens: false });
const ids = await model.generate({ ...inputs, max_new_tokens: Number(nTokens), do_sample: false });
const generated = ids.tolist()[0].slice(inputs.input_ids.dims[1]).map(Number);
process.stdout.write(JSON.stringify({ prompt: inputs.input_ids.tolist()[0].map(Number), generated }));
