from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.labels.review.reviewed_street import (
    CAR,
    FIXED,
    TRUCK,
    contents,
    correct,
    decide,
    propagated,
    repropagate,
    stored,
)
from thriftseg.cli.main import main
from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError, MixtureError
from thriftseg.labels import (
    apply_decisions,
    export_labels,
    label_clicks,
    label_propagate,
    least_confident,
    write_point_maps,
)
from thriftseg.labels.review.inspect import inspect_labels
from thriftseg.stores.label_source import LabelSource
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.review_log import ReviewLog
from thriftseg.stores.rows import ActionRow, action_id
from thriftseg.types import LabelKind


class TestDecisions:
    def test_reject_and_accept(self, street, tmp_path):
        before = contents(tmp_path)
        summary = decide(street, tmp_path, "reject,clip0,12,", "accept,clip0,13,", "lock,clip0,14,", ",clip0,15,")
        assert summary.frames == {"accept": 1, "reject": 1, "lock": 1}
        assert str(summary) == "1 frames accepted, 1 frames rejected, 1 frames locked; 0 decisions held already"
        store = stored(tmp_path)
        assert set(store.labels) - set(store.usable) == {("clip0", 12)}
        assert propagated(street, tmp_path)  # does not make it again
        assert contents(tmp_path) == before
        assert len(LabelSource(street, tmp_path, "known_motion").labels("train")) == 19
        listed = least_confident(street, "train", "known_motion", store=tmp_path, worst=100, progress=False)
        assert (len(listed.labels), listed.undecided, listed.decided) == (17, 17, 2)
        assert str(decide(street, tmp_path, "accept,clip0,13,")) == "no new decision; 1 decisions held already"
        decide(street, tmp_path, "accept,clip0,12,")
        assert set(stored(tmp_path).usable) == set(store.labels)
        assert contents(tmp_path) == before

    def test_the_last_decision_holds(self, street, tmp_path):
        decide(street, tmp_path, "reject,clip0,12,", "lock,clip0,12,", "accept,clip0,13,", "reject,clip0,13,")
        reviews = stored(tmp_path).reviews
        assert (reviews.locked, reviews.rejected) == ({("clip0", 12)}, {("clip0", 13)})

    def test_a_new_label_is_no_longer_rejected(self, street, tmp_path):
        decide(street, tmp_path, "reject,clip0,12,", "reject,clip0,16,", "reject,clip0,17,3")
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        assert stored(tmp_path).reviews.rejected == {("clip0", 12)}
        assert TRUCK in stored(tmp_path).read("clip0", 17)
        decide(street, tmp_path, "reject,clip0,16,")
        repropagate(street, tmp_path)
        assert stored(tmp_path).reviews.rejected == {("clip0", 12), ("clip0", 16)}

    def test_rejected_object_is_taken_out_and_put_back(self, street, tmp_path):
        before = stored(tmp_path).path_of("clip0", 16).read_bytes()
        summary = decide(street, tmp_path, "reject,clip0,16,3")
        assert summary.repainted == 1
        store = stored(tmp_path)
        label = store.read("clip0", 16, verify=True)
        assert (label[12:20, 26:34] == 255).all()
        assert store.labels["clip0", 16].ignored_share == pytest.approx((64 + 6 * 24) / label.size, abs=1e-6)
        assert decide(street, tmp_path, "reject,clip0,16,3").repainted == 0
        assert decide(street, tmp_path, "accept,clip0,16,3").repainted == 1
        assert stored(tmp_path).path_of("clip0", 16).read_bytes() == before
        assert stored(tmp_path).verify() == []

    def test_objects_of_locked_frames_are_safe(self, street, tmp_path):
        decide(street, tmp_path, "lock,clip0,16,")
        for lines in (["reject,clip0,16,3"], ["lock,clip0,16,", "reject,clip0,16,3"]):
            with pytest.raises(ConfigError, match=rf"line {1 + len(lines)}: frame 16 of 'clip0' is locked"):
                decide(street, tmp_path, *lines)
        assert decide(street, tmp_path, "accept,clip0,16,", "reject,clip0,16,3").repainted == 1

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "maybe,clip0,16,",
                r"line 3 is malformed at \$\.decision; expected one of 'accept', 'lock', 'reject'; found 'maybe'",
            ),
            ("lock,clip0,10,", r"line 3: no label of frame 10 of 'clip0'; expected a label of source 'known_motion'"),
            ("lock,clip9,16,", r"line 3: no label of frame 16 of 'clip9'"),
            ("lock,clip0,six,", r"line 3 is malformed at \$\.frame; expected str matching .*; found 'six'"),
            ("lock,clip0,16,car", r"line 3 is malformed at \$\.object; expected str matching .*; found 'car'"),
            ("lock,clip0,16,7", r"line 3: no such object in this frame; expected one of 1, 2, 3; found 7"),
        ],
    )
    def test_bad_lines(self, street, tmp_path, line, message):
        with pytest.raises(ConfigError, match=message) as caught:
            decide(street, tmp_path, "reject,clip0,12,", line)
        assert caught.value.path == tmp_path / "decisions.csv"
        assert not stored(tmp_path).review_log.path.exists()

    def test_bad_files(self, street, tmp_path):
        path = tmp_path / "d.csv"
        for content, message in (
            (b"frame,word\n", "lacks a column; expected decision, video, frame"),
            (b"\xff", "is not UTF-8"),
        ):
            path.write_bytes(content)
            with pytest.raises(ConfigError, match=message):
                apply_decisions(street, "known_motion", path, store=tmp_path)
        with pytest.raises(ConfigError, match="no such file"):
            apply_decisions(street, "known_motion", tmp_path / "absent.csv", store=tmp_path)
        path.write_text("\ufeffdecision;video;frame;object\r\nReject;clip0;12;\r\n", encoding="utf-8")
        assert apply_decisions(street, "known_motion", path, store=tmp_path).frames == {"reject": 1}

    def test_damaged_reviews(self, street, tmp_path):
        log = ReviewLog(tmp_path / "known_motion")
        for row, message in (
            ('{"schema": 9}', "unknown version"),
            ('{"schema": 1, "verdict": "x"}', "line 1 is malformed"),
        ):
            log.path.write_text(row + "\n")
            with pytest.raises(LabelStoreError, match=message):
                _ = stored(tmp_path).usable

    def test_killed_decisions_go_on(self, street, tmp_path, monkeypatch):
        """Killed between the decision and the label that has to follow it."""
        lines = ["reject,clip0,16,3", "lock,clip0,16,"]
        with monkeypatch.context() as patch:
            patch.setattr(LabelStore, "write", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                decide(street, tmp_path, *lines)
        assert CAR in stored(tmp_path).read("clip0", 16)
        assert not stored(tmp_path).reviews.locked
        summary = decide(street, tmp_path, *lines)
        assert (summary.repainted, summary.known) == (1, 1)
        assert CAR not in stored(tmp_path).read("clip0", 16)
        assert stored(tmp_path).reviews.locked == {("clip0", 16)}


class TestUse:
    """What mixtures and exports see, on the fixture's clips of eight frames, the sixth annotated."""

    @pytest.fixture(scope="class")
    def propagated_flow(self, cityscapes_root, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("flow")
        dataset = Cityscapes(cityscapes_root)
        label_propagate(dataset, "train", "-3..2", store=folder, progress=False, accelerator="cpu")
        return folder

    @pytest.fixture
    def flow(self, cityscapes_root, propagated_flow, tmp_path) -> Cityscapes:
        shutil.copytree(propagated_flow, tmp_path, dirs_exist_ok=True)
        return Cityscapes(cityscapes_root)

    def run(self, dataset, tmp_path, *options: str) -> int:
        where = ["--dataset=cityscapes", f"--root={dataset.root}", f"--store={tmp_path}", "--source=flow"]
        return main(["label", "review", *where, "--accelerator=cpu", *options])

    def test_from_the_list_to_the_mixture(self, flow, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")
        table, sheet = tmp_path / "d.csv", tmp_path / "sheet.png"
        options = [f"--decisions={table}", f"--sheet={sheet}", "--worst=3", "--objects=true"]
        assert self.run(flow, tmp_path, *options) == 0
        out = capsys.readouterr().out
        assert "15 labels without a decision, 0 accepted or locked" in out
        store = LabelStore(tmp_path, "flow", flow.taxonomy)
        worst = sorted(store.labels.values(), key=lambda row: row.confidence)[:3]
        rows = list(csv.DictReader(table.open()))
        frames = [row for row in rows if not row["object"]]
        assert [(row["video"], int(row["frame"])) for row in frames] == [(row.video, row.frame) for row in worst]
        assert [float(row["confidence"]) for row in frames] == pytest.approx([r.confidence for r in worst], abs=1e-3)
        assert f"{worst[0].video}/{worst[0].frame:06d}" in out
        logged = store.object_log.read()[worst[0].video, worst[0].frame]
        of_first = [row for row in rows if row["object"] and row["frame"] == frames[0]["frame"]]
        assert len(of_first) >= sum(not item.lost for item in logged) > 2
        assert Image.open(sheet).size[0] == 3 * 400 + 2 * 4
        assert self.run(flow, tmp_path, *options) == 2
        assert "is there already" in capsys.readouterr().err

        parts = [MixturePart("flow", offsets=[-3, -2, -1, 1, 2], clips=3)]
        everything = Mixture(parts=parts, store=tmp_path).draw(flow, "train")
        frames[0]["decision"] = "reject"
        with table.open("w") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        assert self.run(flow, tmp_path, f"--decisions={table}", "--apply=true") == 0
        assert "1 frames rejected; 0 decisions held already" in capsys.readouterr().out
        rest = Mixture(parts=parts, store=tmp_path).draw(flow, "train")
        gone = f"{worst[0].video}/{worst[0].frame:06d}"
        assert {sample.id for sample in everything.samples} - {sample.id for sample in rest.samples} == {gone}
        assert (len(everything), len(rest), rest.rejected) == (15, 14, 1)
        assert "1 rejected labels are left out" in str(rest)
        with pytest.raises(MixtureError, match="people have rejected all labels of the mixture"):
            self.draw_rejected(flow, tmp_path)
        export = export_labels(flow, "train", tmp_path / "out", "coco", source="flow", store=tmp_path, progress=False)
        assert export.frames == 14

    def draw_rejected(self, flow, tmp_path) -> None:
        """Draw a mixture of one clip and offset after rejecting that offset in every clip."""
        shutil.copytree(tmp_path / "flow", tmp_path / "none" / "flow")
        table = tmp_path / "none.csv"
        table.write_text("decision,video,frame\n" + "".join(f"reject,{clip.video},6\n" for clip in flow.clips("train")))
        apply_decisions(flow, "flow", table, store=tmp_path / "none")
        parts = [MixturePart("flow", offsets=[1], clips=1)]
        Mixture(parts=parts, store=tmp_path / "none").draw(flow, "train")

    def test_clicks(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        label_clicks(dataset, "train", store=tmp_path, progress=False)
        store = LabelStore(tmp_path, "clicks", dataset.taxonomy)
        (video, first), (_, second) = sorted(store.labels)[:2]
        clicks = {(video, second): store.points(video, second)}
        table = tmp_path / "d.csv"
        table.write_text(f"decision,video,frame,object\nreject,{video},{first},\nlock,{video},{second},\n")
        apply_decisions(dataset, "clicks", table, store=tmp_path)
        drawn = Mixture(parts=[MixturePart("clicks", share=1)], store=tmp_path).draw(dataset, "train")
        assert (len(drawn), drawn.rejected) == (len(store.labels) - 1, 1)
        maps = write_point_maps(dataset, "train", store=tmp_path, progress=False)
        assert len(list(maps.rglob("*.png"))) == len(drawn)
        store.refresh()
        with pytest.raises(LabelStoreError, match=f"the label of frame {second} of '{video}' is locked"):
            store.write_points(clicks, dataset="camvid", generator="test", costs={}, sizes={})
        table.write_text(f"decision,video,frame,object\nreject,{video},{first},1\n")
        with pytest.raises(ConfigError, match="line 2: only label maps of classes have objects"):
            apply_decisions(dataset, "clicks", table, store=tmp_path)

    def test_corrections_count_once(self, flow, tmp_path, capsys):
        clip = flow.clips("train")[0]
        store = LabelStore(tmp_path, FIXED, flow.taxonomy)
        action = action_id(FIXED, flow.name, clip.video, 7)
        store.record_action(ActionRow(action, FIXED, clip.video, 7, AnnotationCost(seconds=3600, masks=1)))
        label = flow.read_label(clip, 5)
        store.write(clip.video, 7, label, kind=LabelKind.MANUAL, generator="import/coco", parents=[action])
        parts = [MixturePart("flow", offsets=[-1, 1, 2], clips=3)]
        before = Mixture(parts=parts, store=tmp_path).draw(flow, "train").cost()
        assert self.run(flow, tmp_path, f"--corrections={FIXED}") == 0
        assert f"{clip.video}: the correction of frame 7 reaches 7\n1 labels to make again" in capsys.readouterr().out
        assert self.run(flow, tmp_path, f"--corrections={FIXED}", "--repropagate=true") == 0
        assert "1 labels of " in capsys.readouterr().out
        after = Mixture(parts=parts, store=tmp_path).draw(flow, "train").cost()
        assert after.seconds - before.seconds == pytest.approx(3600)
        rows = LabelStore(tmp_path, "flow", flow.taxonomy)
        np.testing.assert_array_equal(rows.read(clip.video, 7), label)
        both = inspect_labels(flow, "train", "flow", store=tmp_path, progress=False).cost
        assert both.seconds == pytest.approx(after.seconds)
        assert self.run(flow, tmp_path, f"--corrections={FIXED}", "--repropagate=true") == 0
        assert "0 labels of " in capsys.readouterr().out

    def test_by_way_of_an_annotation_tool(self, camvid_root, tmp_path, capsys):
        """From the propagated labels to a tool, back as corrections, and from there to their neighbours."""
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={tmp_path}", "--split=val"]
        flow = [*where, "--source=flow"]
        options = ["--offsets=-3..3", "--on_missing=skip", "--annotated_every=4", "--accelerator=cpu"]
        assert main(["label", "propagate", *flow, *options]) == 0
        before = LabelStore(tmp_path, "flow", CamVid(camvid_root).taxonomy)
        digests = {frame: row.sha256 for frame, row in before.labels.items()}
        out = ["--format=davis", f"--out={tmp_path / 'tool'}", "--frames=least-confident:1"]
        assert main(["label", "export", *flow, *out]) == 0
        (drawn,) = (tmp_path / "tool").rglob("*/*.png")
        picture = Image.open(drawn)
        ids = np.array(picture)
        ids[:20, :20] = ids.max()
        corrected = Image.fromarray(ids, "P")
        corrected.putpalette(picture.getpalette())
        corrected.save(drawn)
        back = ["--format=davis", f"--path={tmp_path / 'tool'}", "--based_on=flow", "--seconds_per_frame=60"]
        assert main(["label", "import", *where, f"--source={FIXED}", *back]) == 0
        spread = ["--accelerator=cpu", f"--corrections={FIXED}", "--repropagate=true"]
        assert main(["label", "review", *flow, *spread]) == 0
        (fixed,) = LabelStore(tmp_path, FIXED, before.taxonomy).labels.values()
        before.refresh()
        again = {frame for frame, row in before.labels.items() if row.sha256 != digests[frame]}
        made_from_it = {frame for frame, row in before.labels.items() if fixed.parents[-1] in row.parents}
        assert again == made_from_it == set(before.reviews.remade)
        assert (fixed.video, fixed.frame) in again
        assert before.labels[fixed.video, fixed.frame].sha256 == fixed.sha256
        assert 1 < len(again) < len(digests)
        assert before.verify() == []
        assert f"{len(again)} labels of {before.folder} made again from 1 corrected frames" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--apply=true", "--apply true without decisions"),
            ("--repropagate=true", "without corrections"),
            ("--worst=0", "worst; expected at least 1 label; found 0"),
        ],
    )
    def test_bad_options(self, flow, tmp_path, capsys, option, message):
        assert self.run(flow, tmp_path, option) == 2
        assert message in capsys.readouterr().err
