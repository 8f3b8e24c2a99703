"""Networks of mmsegmentation; all but one of these tests need it, and run in an environment of its own."""

from __future__ import annotations

import importlib.util
import json
import pickle
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import MMSegNetwork, create_model, rebuild
from thriftseg.zoo.mmseg import preprocessing_of

INSTALLED = importlib.util.find_spec("mmseg") is not None
needs_mmseg = pytest.mark.skipif(not INSTALLED, reason='needs mmsegmentation: pip install "thriftseg[mmseg]"')
pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``")

PSP = """
    norm_cfg = dict(type="SyncBN", requires_grad=True)
    model = dict(
        type="EncoderDecoder",
        pretrained="open-mmlab://resnet18_v1c",
        data_preprocessor=dict(
            type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True, pad_val=0, seg_pad_val=255,
        ),
        backbone=dict(
            type="ResNetV1c", depth=18, base_channels=8, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
            norm_cfg=norm_cfg, init_cfg=dict(type="Pretrained", checkpoint="https://example.org/resnet18.pth"),
        ),
        decode_head=dict(
            type="PSPHead", in_channels=64, in_index=3, channels=16, pool_scales=(1, 2, 3, 6), num_classes=5,
            norm_cfg=norm_cfg, align_corners=False, loss_decode=dict(type="CrossEntropyLoss"),
        ),
        auxiliary_head=dict(
            type="FCNHead", in_channels=32, in_index=2, channels=8, num_convs=1, concat_input=False, num_classes=5,
            norm_cfg=norm_cfg, loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )
"""
UNET = """
    data_preprocessor = dict(
        type="SegDataPreProcessor", mean=[104.0, 117.0, 124.0], std=[60.0, 50.0, 40.0], bgr_to_rgb=False,
    )
    model = dict(
        type="EncoderDecoder",
        data_preprocessor=data_preprocessor,
        backbone=dict(
            type="UNet", base_channels=8, num_stages=3, strides=(1, 1, 1), enc_num_convs=(2, 2, 2),
            dec_num_convs=(2, 2), downsamples=(True, True), enc_dilations=(1, 1, 1), dec_dilations=(1, 1),
        ),
        decode_head=dict(
            type="FCNHead", in_channels=8, in_index=2, channels=8, num_convs=1, num_classes=3, align_corners=True,
            loss_decode=dict(type="CrossEntropyLoss"),
        ),
        test_cfg=dict(mode="whole"),
    )
"""
CASCADE = """
    head = dict(num_classes=4, align_corners=False, loss_decode=dict(type="CrossEntropyLoss"))
    model = dict(
        type="CascadeEncoderDecoder",
        num_stages=2,
        data_preprocessor=dict(type="SegDataPreProcessor", mean=[0, 0, 0], std=[255, 255, 255], rgb_to_bgr=True),
        backbone=dict(type="ResNet", depth=18, base_channels=8),
        decode_head=[
            dict(type="FCNHead", in_channels=64, channels=16, num_convs=1, concat_input=False, **head),
            dict(type="OCRHead", in_channels=64, channels=16, ocr_channels=8, **head),
        ],
        test_cfg=dict(mode="whole"),
    )
"""
CONFIGS = {"psp": PSP, "unet": UNET, "cascade": CASCADE}


def write_config(folder: Path, text: str) -> str:
    path = folder / "config.py"
    pipeline = 'test_pipeline = [dict(type="LoadImageFromNDArray"), dict(type="PackSegInputs")]'
    path.write_text(f"{textwrap.dedent(text)}\n{pipeline}\n")
    return str(path)


def write_checkpoint(folder: Path, network: MMSegNetwork, **extra: object) -> str:
    """As the training of mmsegmentation writes it, after a few steps so that the running statistics fit."""
    for _ in range(3):
        network.train()(torch.randn(2, 3, 64, 64))
    path = folder / "iter_3.pth"
    names = [str(index) for index in range(network.num_classes)]
    meta = {"epoch": 1, "dataset_meta": {"classes": names, "palette": [[0, 0, 0]] * len(names)}}
    torch.save({"meta": meta, "state_dict": network.model.state_dict(), **extra}, path)
    return str(path)


@pytest.mark.skipif(INSTALLED, reason="mmsegmentation is installed")
def test_absent_package_is_named_with_its_command():
    with pytest.raises(ConfigError) as caught:
        create_model("mmseg", config="any.py")
    assert caught.value.headline.startswith("mmsegmentation is not installed")
    assert caught.value.headline.endswith('fix: pip install "thriftseg[mmseg]"')


def test_preprocessing_of_an_rgb_network():
    imagenet = preprocessing_of({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True})
    assert imagenet.mean == pytest.approx((0.485, 0.456, 0.406))
    assert imagenet.std == pytest.approx((0.229, 0.224, 0.225))
    assert imagenet.channel_order == "rgb"


def test_preprocessing_of_a_bgr_network_is_told_by_rgb_channel():
    caffe = preprocessing_of({"mean": [102.0, 127.5, 153.0], "std": [25.5, 51.0, 255.0]})
    assert caffe.mean == pytest.approx((0.6, 0.5, 0.4))
    assert caffe.std == pytest.approx((1.0, 0.2, 0.1))
    assert caffe.channel_order == "bgr"


def test_network_without_a_preprocessor_reads_0_to_255():
    frames = torch.rand(1, 3, 2, 2)
    assert torch.allclose(preprocessing_of({})(frames), 255 * frames.flip(1))


def test_preprocessor_of_two_images_is_refused():
    with pytest.raises(ConfigError, match="not for RGB images; expected 3 means; found 6"):
        preprocessing_of({"mean": [0.0] * 6, "std": [1.0] * 6})


@needs_mmseg
@pytest.mark.parametrize(
    ("name", "size"),
    [("psp", (64, 96)), ("psp", (45, 71)), ("cascade", (45, 71)), ("unet", (64, 96)), ("unet", (44, 72))],
)
def test_equals_mmsegmentation_from_image_to_logits(name, size, tmp_path):
    from mmseg.apis import inference_model, init_model

    torch.manual_seed(0)
    config = write_config(tmp_path, CONFIGS[name])
    checkpoint = write_checkpoint(tmp_path, MMSegNetwork(config))
    network = create_model("mmseg", config=config, checkpoint=checkpoint).eval()
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)  # BGR, as they read it
    expected = inference_model(init_model(config, checkpoint, device="cpu"), image).seg_logits.data
    frames = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        logits = network(network.preprocessing(frames))[0]
    assert expected.std() > 0.01
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


@needs_mmseg
def test_low_resolution_logits_of_a_plain_head(tmp_path):
    network = MMSegNetwork(write_config(tmp_path, PSP)).eval()
    with torch.inference_mode():
        assert network.low_resolution_logits(torch.randn(1, 3, 64, 96)).shape == (1, 5, 8, 12)


@needs_mmseg
def test_any_size_of_a_u_net(tmp_path):
    network = MMSegNetwork(write_config(tmp_path, UNET)).eval()
    assert network.size_multiple == 4
    frames = torch.randn(1, 3, 45, 71)
    padded = torch.nn.functional.pad(frames, (0, 1, 0, 3), mode="replicate")
    with torch.inference_mode():
        assert torch.equal(network(frames), network(padded)[..., :45, :71])


@needs_mmseg
@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name, tmp_path):
    network = MMSegNetwork(write_config(tmp_path, CONFIGS[name])).train()
    frames = torch.randn(2, 3, 64, 64)
    logits, auxiliary = network.forward_with_auxiliary(frames)
    assert [*auxiliary] == (["auxiliary_0"] if name == "psp" else [])
    assert network.has_auxiliary_heads == (name == "psp")
    assert network.further_outputs == tuple(auxiliary)
    assert all(extra.shape == logits.shape == (2, network.num_classes, 64, 64) for extra in auxiliary.values())
    sum(output.square().mean() for output in (logits, *auxiliary.values())).backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@needs_mmseg
@pytest.mark.parametrize("name", CONFIGS)
def test_rebuilds_from_its_record_without_the_files(name, tmp_path):
    config = write_config(tmp_path, CONFIGS[name])
    network = MMSegNetwork(config, write_checkpoint(tmp_path, MMSegNetwork(config))).eval()
    record = json.dumps(network.record)
    assert str(tmp_path) not in record
    assert "https://" not in record
    for path in tmp_path.iterdir():
        path.unlink()
    again = rebuild(json.loads(record)).eval()
    again.load_state_dict(network.state_dict())
    frames = torch.randn(1, 3, 45, 71)
    with torch.inference_mode():
        assert torch.equal(again(frames), network(frames))
    assert again.record == network.record


@needs_mmseg
def test_record_keeps_tuples(tmp_path):
    """CGNet refuses lists where its config has tuples."""
    backbone = {"type": "CGNet", "num_channels": (8, 8, 8), "num_blocks": (1, 1), "reductions": (2, 2)}
    head = {"type": "FCNHead", "in_channels": 16, "channels": 16, "num_convs": 0, "num_classes": 2}
    head["concat_input"] = False
    network = MMSegNetwork({"type": "EncoderDecoder", "backbone": backbone, "decode_head": head})
    assert rebuild(json.loads(json.dumps(network.record))).record == network.record


@needs_mmseg
def test_links_in_a_record_are_not_followed(tmp_path):
    """A weight file that a record links to, at whatever depth, would be unpickled by mmsegmentation."""
    config = MMSegNetwork(write_config(tmp_path, UNET)).record["init_args"]["config"]
    link = {"type": "Pretrained", "checkpoint": str(tmp_path / "none.pth")}
    wrapped = {"type": "Normal", "layer": "Conv2d", "std": 0.1, "override": {**link, "name": "encoder"}}
    for links in (link, [link], [wrapped]):
        linked = {**config, "backbone": {**config["backbone"], "init_cfg": links}}
        again = rebuild({"class_path": "thriftseg.zoo.MMSegNetwork", "init_args": {"config": linked}})
        assert "none.pth" not in json.dumps(again.record)


@needs_mmseg
def test_preprocessor_beside_the_model_section(tmp_path):
    config = write_config(tmp_path, UNET.replace("        data_preprocessor=data_preprocessor,\n", ""))
    assert MMSegNetwork(config).preprocessing == MMSegNetwork(write_config(tmp_path, UNET)).preprocessing


@needs_mmseg
def test_checkpoint_with_the_log_of_its_training(tmp_path):
    from mmengine.logging import HistoryBuffer

    config = write_config(tmp_path, UNET)
    hub = {"log_scalars": {"train/loss": HistoryBuffer([0.5, 0.25], [1, 1])}, "runtime_info": {"iter": 3}}
    network = MMSegNetwork(config)
    loaded = MMSegNetwork(config, write_checkpoint(tmp_path, network, message_hub=hub)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


@needs_mmseg
def test_checkpoint_of_another_config_names_the_entries(tmp_path):
    checkpoint = write_checkpoint(tmp_path, MMSegNetwork(write_config(tmp_path, UNET)))
    with pytest.raises(CheckpointError, match="entries do not fit this MMSegNetwork; found left over"):
        MMSegNetwork(write_config(tmp_path, PSP), checkpoint)


@needs_mmseg
def test_checkpoint_with_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "executed",))

    checkpoint = tmp_path / "evil.pth"
    checkpoint.write_bytes(pickle.dumps({"state_dict": Payload()}))
    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        MMSegNetwork(write_config(tmp_path, UNET), str(checkpoint))
    assert not (tmp_path / "executed").exists()


@needs_mmseg
@pytest.mark.parametrize("name", ["os.system", "mmengine.load", "NoSuchBackbone"])
def test_record_calls_nothing_but_registered_modules(name):
    backbone = {"type": name, "command": "true"}
    record = {"config": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": {"type": "FCNHead"}}}
    with pytest.raises(ConfigError, match=f"no module '{name}' is registered with mmsegmentation"):
        rebuild({"class_path": "thriftseg.zoo.MMSegNetwork", "init_args": record})


@needs_mmseg
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = (", "cannot read this config; found .*SyntaxError"),
        ("classes = 3", "config without a model section; found classes, test_pipeline"),
        ("model = dict(type='EncoderDecoder', backbone=print)", "a value that cannot be stored.*found <built-in"),
        (UNET.replace("base_channels=8", "base_channel=8"), "cannot build this config; found .*base_channel"),
        (UNET.replace("num_classes=3", "num_classes=2, out_channels=1, threshold=0.3"), "no logit per class"),
        (UNET.replace("EncoderDecoder", "DepthEstimator"), "not a network for semantic segmentation"),
    ],
)
def test_unusable_config(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        MMSegNetwork(write_config(tmp_path, text))


@needs_mmseg
def test_missing_config():
    with pytest.raises(ConfigError, match=r"no_such_config\.py: no such config"):
        MMSegNetwork("no_such_config.py")


@needs_mmseg
def test_size_that_the_network_refuses(tmp_path):
    """U-Nets refuse sizes that their strides do not divide; here the multiple is overridden."""
    network = MMSegNetwork(write_config(tmp_path, UNET), size_multiple=1).eval()
    with pytest.raises(ConfigError, match="multiples of 64, or of less; found 45 x 71; fix: build it with size_mul"):
        network(torch.randn(1, 3, 45, 71))
