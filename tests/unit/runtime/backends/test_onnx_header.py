"""The reader of ONNX files: the same facts as onnx itself, and no trouble with damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx as onnx_package
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecritic.backends.onnx import OnnxFiles
from edgecritic.backends.onnx import header as header_module
from edgecritic.backends.onnx.artifacts import check_decoder
from edgecritic.backends.onnx.header import ELEMENT_TYPES, Port, read_header
from edgecritic.errors import ArtifactError
from edgecritic.graphs.wire import varint


def external(name: str, location: str) -> TensorProto:
    """A tensor of two floats that lie in another file."""
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def small_model() -> onnx_package.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [x], [y], [external("w", "w.bin")]))


def test_the_facts_are_those_of_the_onnx_package(onnx: OnnxFiles) -> None:
    vision = onnx.vision_encoder
    assert vision is not None
    for path in (onnx.decoder, onnx.embed_tokens, vision):
        graph = onnx_package.load(path).graph
        found = read_header(path)
        for ports, expected in ((found.inputs, graph.input), (found.outputs, graph.output)):
            assert ports == {
                value.name: Port(
                    ELEMENT_TYPES[value.type.tensor_type.elem_type],
                    tuple(
                        size.dim_value if size.HasField("dim_value") else None
                        for size in value.type.tensor_type.shape.dim
                    ),
                )
                for value in expected
            }
        assert [(op.name.split(":")[-1], op.inputs) for op in found.operators] == [
            (node.op_type, tuple(node.input)) for node in graph.node
        ]
        assert found.initializers == {
            weight.name: tuple(weight.dims) for weight in graph.initializer
        }
        assert found.external == frozenset()


def test_external_data_is_found_wherever_it_hides(tmp_path: Path) -> None:
    model = small_model()
    graph = model.graph
    constant = helper.make_node("Constant", [], ["c"], value=external("c", "constant.bin"))
    inner = helper.make_graph([constant], "inner", [], [], [external("i", "inner.bin")])
    graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(external("s", "values.bin"))
    sparse.indices.CopyFrom(external("t", "indices.bin"))
    hidden = helper.make_node("Constant", [], ["f"], value=external("f", "function.bin"))
    opsets = [helper.make_opsetid("", 21)]
    function = helper.make_function("own", "f", [], ["f"], [hidden], opsets)
    default = external("d", "default.bin")
    function.attribute_proto.append(helper.make_attribute("default", default))
    model.functions.append(function)
    several = helper.make_attribute("many", [external("m", "many.bin")])
    graph.node[0].attribute.append(several)
    thin = graph.node[0].attribute.add()
    thin.name, thin.type = "thin", thin.SPARSE_TENSOR
    thin.sparse_tensor.values.CopyFrom(external("p", "sparse.bin"))
    onnx_package.save(model, tmp_path / "m.onnx")
    names = ("constant", "inner", "values", "indices", "function", "default", "many", "sparse", "w")
    found = read_header(tmp_path / "m.onnx")
    assert found.external == {f"{name}.bin" for name in names}
    assert [op.name for op in found.operators if op.name != "Constant"] == ["Add", "If"]


def field(tag: int, content: bytes) -> bytes:
    """A field of bytes; the tag is written out however long it is."""
    return varint(tag) + varint(len(content)) + content


def with_weight(weight: bytes) -> bytes:
    """`small_model` with another weight, which is written down already."""
    model = small_model()
    model.ir_version = 8
    model.graph.ClearField("initializer")
    graph = model.graph.SerializeToString() + field(5 << 3 | 2, weight)
    model.ClearField("graph")
    return model.SerializeToString() + field(7 << 3 | 2, graph)


def test_a_field_behind_a_number_that_protobuf_cuts_is_refused(tmp_path: Path) -> None:
    weight = external("w", "elsewhere.bin")
    entries = [entry.SerializeToString() for entry in weight.external_data]
    weight.ClearField("external_data")
    (tmp_path / "elsewhere.bin").write_bytes(np.array([3, 4], dtype=np.float32).tobytes())
    path = tmp_path / "m.onnx"
    for beyond in (0, 1 << 32):
        smuggled = b"".join(field((13 << 3 | 2) + beyond, entry) for entry in entries)
        path.write_bytes(with_weight(weight.SerializeToString() + smuggled))
        # ONNX Runtime reads both alike, and the other file with them.
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"x": np.zeros((1, 2), dtype=np.float32)})
        assert np.asarray(y).tolist() == [[3, 4]]
        if beyond:
            with pytest.raises(ArtifactError, match="out of range"):
                read_header(path)
        else:
            assert read_header(path).external == {"elsewhere.bin"}


@pytest.mark.parametrize("location", ["w.bin\0", "../w.bin", "sub/w.bin", "./w.bin", "/w.bin"])
def test_weights_are_read_from_listed_files_beside_the_model_only(
    tmp_path: Path, location: str
) -> None:
    model = small_model()
    model.graph.initializer[0].external_data[0].value = location
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="no file of the bundle"):
        check_decoder(path, external=[tmp_path / "w.bin"])


def test_floats_are_not_taken_for_names(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "v").SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(with_weight(weight + varint(8 << 3 | 5) + b"fake"))  # 8 is the name
    (read,) = onnx_package.load(path).graph.initializer
    assert set(read_header(path).initializers) == {read.name} == {"v"}


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    onnx_package.save(model, tmp_path / "m.onnx")
    assert read_header(tmp_path / "m.onnx").inputs.keys() == {"x"}


def test_graphs_within_graphs_come_to_an_end(tmp_path: Path) -> None:
    model = small_model()
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(10):
        graph = helper.make_graph(
            [helper.make_node("If", ["x"], ["z"], then_branch=graph)], "g", [], []
        )
    model.graph.node.extend(graph.node)
    onnx_package.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArtifactError, match="nested more than"):
        read_header(tmp_path / "m.onnx")


def test_endless_lists_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAX_FIELDS", 1000)
    model = small_model()
    model.graph.initializer[0].dims.extend([1] * 2000)
    onnx_package.save(model, tmp_path / "m.onnx")
    with pytest.raises(ArtifactError, match="more than 1000 fields"):
        read_header(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"<html>not found</html>", "no usable ONNX model"),
        (b"\x08\x0a", "holds no ONNX graph"),
        (b"\x3a\x7f\x00", "reaches behind the end"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "no number ends"),
        (b"\x38\x01", "a number stands where a message belongs"),
        (b"\x3a\x02\x0b\x0c", "wire type 3"),
        (b"\xa2\x01\x00", "for training"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_header(path)
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_header(tmp_path / "absent.onnx")


@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 10_000),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_reported_and_nothing_else_happens(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(small_model().SerializeToString())
    for at, byte in changes:
        data[at % len(data)] = byte
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: cut % len(data) + 1])
    try:
        read_header(path)
    except ArtifactError as error:
        assert error.hint  # noqa: PT017 - any other error is what this test looks for
