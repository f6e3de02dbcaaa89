export { BundleError } from './bundle.js';
export { Critic } from './critic.js';
export { packFeatures } from './packing.js';
export { loadPicture } from './pictures.js';
export { render } from './prompts.js';
export { resize } from './resample.js';
export { OutcomeTrie, pointwiseVerdict, preference } from './scoring.js';
export { pixelValues, selectBestResolution, tile } from './tiling.js';
