import os
import subprocess
import sys

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from pandas.testing import assert_frame_equal

import polytask
from polytask import MultiTaskModel, load
from polytask._files import archive_checksum, fail_points, read_archive, write_archive
from polytask._files.fail_points import KILLED, parse
from polytask.errors import (
    CorruptFile,
    DataError,
    FileProblem,
    InvalidArgument,
    PolytaskError,
    UnknownName,
)
from polytask.export import FILE_NAME, Bundle

COLUMNS = [
    "patient",
    "pressure",
    "sick",
    "sick_probability_yes",
    "stage",
    "stage_probability_I",
    "stage_probability_II",
    "stage_probability_III",
    "sugar",
    "visits",
    "signs_cough",
    "signs_probability_cough",
    "signs_fever",
    "signs_probability_fever",
]


def same(a, b):
    """Equal to the bit, with index, order of columns and types."""
    assert_frame_equal(a, b, check_exact=True, check_freq=False)


class TestPredict:
    def test_columns_order_and_index(self, wide, table):
        predicted = wide.predict(table)
        assert list(predicted.columns) == COLUMNS
        assert predicted.index.equals(table.index)
        assert predicted["patient"].equals(table["patient"])
        assert set(predicted["stage"]) <= {"I", "II", "III"}
        assert predicted.filter(like="stage_probability").sum(axis=1).to_numpy() == pytest.approx(1)

    def test_no_targets_needed_and_columns_in_any_order(self, wide, table):
        inputs = table[["smoker", "patient", "postcode", "visited", "age", "city"]]
        same(wide.predict(inputs), wide.predict(table))

    def test_the_table_is_not_changed(self, wide, table):
        before = table.copy(deep=True)
        wide.predict(table)
        same(table, before)

    def test_arrow_table(self, wide, table):
        arrow = pyarrow.Table.from_pandas(table.reset_index(drop=True))
        same(wide.predict(arrow), wide.predict(table.reset_index(drop=True)))

    def test_equals_the_model_by_hand(self, wide, table):
        inputs = wide.encoder.transform(table)
        with torch.no_grad():
            output = wide.members[0].eval()(inputs).outputs["sick"]
        by_hand = torch.sigmoid(output[:, 0, 0].double()).numpy()
        assert np.array_equal(wide.predict(table)["sick_probability_yes"], by_hand)

    def test_tasks_of_one_group_are_not_mixed_up(self, make, table):
        # Two regressions share a stacked head and stand on both sides of another task.
        specs = (polytask.Regression("sugar"), polytask.Binary("sick"))
        specs = (*specs, polytask.Regression("pressure"))
        predicted = make(table, specs=specs).predict(table)
        assert predicted["pressure"].mean() > 50 > 20 > predicted["sugar"].mean()

    @pytest.mark.parametrize("tasks", [["sugar"], ["visits", "sick"]], ids=str)
    def test_some_tasks_have_the_numbers_of_all(self, wide, table, tasks):
        predicted = wide.predict(table, tasks=tasks)
        kept = [c for c in COLUMNS[1:] if any(c == t or c.startswith(f"{t}_") for t in tasks)]
        assert list(predicted.columns) == ["patient", *kept], "in the user's order"
        same(predicted, wide.predict(table)[predicted.columns])

    def test_dropout_and_batch_statistics_are_off(self, residual, table):
        same(residual.predict(table), residual.predict(table))
        one = residual.predict(table.iloc[:1])
        assert one["pressure"].to_numpy() == pytest.approx(
            residual.predict(table)["pressure"].to_numpy()[:1], rel=1e-5
        )

    def test_batches_only_limit_the_memory(self, wide, table):
        # Products of other shapes may round differently; float32 leaves six digits.
        small, large = wide.predict(table, batch_size=7), wide.predict(table)
        numbers = large.select_dtypes("number").columns
        assert small[numbers].to_numpy() == pytest.approx(large[numbers].to_numpy(), rel=1e-4)

    def test_no_rows(self, wide, table):
        predicted = wide.predict(table.iloc[:0])
        assert list(predicted.columns) == COLUMNS
        assert len(predicted) == 0

    def test_repeated_index(self, wide, table):
        twice = pandas.concat([table, table])
        assert wide.predict(twice).index.equals(twice.index)

    def test_long_form(self, long, table):
        predicted = long.predict(table)
        assert list(predicted.columns) == ["patient", "city", "pressure"]
        outputs = long.outputs(table)
        for task in long.tasks:
            mine = (table["city"] == task.name.removeprefix("city=")).to_numpy()
            values = task.predict(outputs[task.name])[""]
            assert np.array_equal(predicted["pressure"].to_numpy()[mine], values[mine])

    def test_threads_and_random_state_are_left_alone(self, wide, table):
        before = torch.get_rng_state()
        wide.predict(table)
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize(
        ("change", "error", "sentence"),
        [
            (lambda t: t.drop(columns="age"), DataError, "age"),
            (lambda t: t.drop(columns="patient"), DataError, "patient"),
            (lambda t: t.assign(age="old"), DataError, "age"),
            (lambda t: t.assign(age=np.inf), DataError, "age"),
            (lambda t: {"age": [1]}, PolytaskError, "pandas DataFrame or an Arrow table"),
        ],
    )
    def test_wrong_tables(self, wide, table, change, error, sentence):
        with pytest.raises(error, match=sentence):
            wide.predict(change(table))

    def test_unknown_task(self, wide, table):
        with pytest.raises(UnknownName, match=r"'sugr' does not exist\. Did you mean 'sugar'"):
            wide.predict(table, tasks=["sugr"])
        with pytest.raises(InvalidArgument, match="name at least one task"):
            wide.predict(table, tasks=[])
        with pytest.raises(InvalidArgument, match="`batch_size`"):
            wide.predict(table, batch_size=0)


class TestMembers:
    def test_average_of_values_and_probabilities(self, ensemble, table):
        alone = [
            Bundle([member], ensemble.form, ensemble.encoder).predict(table)
            for member in ensemble.members
        ]
        together = ensemble.predict(table)
        for column in COLUMNS[1:]:
            if column in ("sick", "stage", "signs_cough", "signs_fever"):
                continue
            mean = np.mean([one[column].to_numpy() for one in alone], axis=0)
            assert together[column].to_numpy() == pytest.approx(mean, rel=1e-5), column
        positive = together["sick_probability_yes"] > 0.5
        assert (together["sick"] == np.where(positive, "yes", "no")).all()

    def test_the_mean_of_logits_is_another_number(self, ensemble, table):
        # The subtly wrong variant: averaging raw outputs of a classifier.
        inputs = ensemble.encoder.transform(table)
        with torch.no_grad():
            raw = torch.stack([m(inputs).outputs["sick"][:, 0, 0] for m in ensemble.members])
        wrong = torch.sigmoid(raw.mean(0).double()).numpy()
        right = ensemble.predict(table)["sick_probability_yes"].to_numpy()
        assert np.abs(wrong - right).max() > 0.01

    def test_round_trip(self, ensemble, table, tmp_path):
        ensemble.save(tmp_path / "e.safetensors")
        back = load(tmp_path / "e.safetensors")
        assert back.manifest["members"] == ["member0.", "member1.", "member2."]
        same(back.predict(table), ensemble.predict(table))

    def test_at_least_one(self, wide):
        with pytest.raises(InvalidArgument, match="hold at least one model"):
            Bundle([], wide.form, wide.encoder)

    def test_of_equal_tasks(self, wide, ensemble, make, table):
        other = make(table, specs=wide.form.specs[:2])
        with pytest.raises(InvalidArgument, match="have the task groups"):
            Bundle([wide.members[0], other.members[0]], wide.form, wide.encoder)
        with pytest.raises(InvalidArgument, match="`form` must name the tasks of the model"):
            Bundle(other.members, wide.form, wide.encoder)


class TestRoundTrip:
    @pytest.mark.parametrize("name", ["wide", "long", "residual"])
    def test_equal_to_the_bit(self, name, request, table, tmp_path):
        bundle = request.getfixturevalue(name)
        before = bundle.predict(table)
        bundle.save(tmp_path / "b.safetensors")
        back = load(tmp_path / "b.safetensors")
        same(back.predict(table), before)
        assert {k: v for k, v in back.manifest.items() if k != "sha256"} == bundle.manifest
        assert back.manifest["sha256"] == archive_checksum(tmp_path / "b.safetensors")
        assert back.summary() == bundle.summary()
        back.save(tmp_path / "again.safetensors")
        again = (tmp_path / "again.safetensors").read_bytes()
        assert again == (tmp_path / "b.safetensors").read_bytes()

    def test_in_a_fresh_process(self, wide, table, tmp_path):
        wide.save(tmp_path)
        table.to_parquet(tmp_path / "table.parquet")
        code = "\n".join(
            [
                "import pandas, polytask, sys, torch",
                f"torch.set_num_threads({torch.get_num_threads()})",
                "folder = sys.argv[1]",
                "table = pandas.read_parquet(folder + '/table.parquet')",
                "polytask.load(folder).predict(table).to_parquet(folder + '/predicted.parquet')",
            ]
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        same(pandas.read_parquet(tmp_path / "predicted.parquet"), wide.predict(table))

    def test_loading_leaves_the_random_state(self, wide, tmp_path):
        wide.save(tmp_path)
        before = torch.get_rng_state()
        load(tmp_path)
        assert torch.equal(before, torch.get_rng_state())

    def test_training_on_does_not_change_the_bundle(self, make, table):
        bundle = make(table)
        model = MultiTaskModel.hard(bundle.members[0].backbone, bundle.tasks)
        other = Bundle([model], bundle.form, bundle.encoder)
        before = other.predict(table)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        model.train()
        same(other.predict(table), before)
        assert not any(p.requires_grad for p in other.members[0].parameters())

    def test_the_manifest_is_a_copy(self, wide):
        wide.manifest["columns"].clear()
        assert wide.manifest["columns"] == ["age", "city", "smoker", "visited", "postcode"]

    def test_the_manifest_says_everything(self, wide):
        manifest = wide.manifest
        assert manifest["architecture"]["backbone"] == "mlp"
        assert manifest["schema_version"] == 1
        assert manifest["threads"] == torch.get_num_threads()
        assert manifest["versions"]["torch"] == torch.__version__
        assert manifest["run"] == {"seed": 0}
        assert [entry["task"] for entry in manifest["tasks"]][:2] == [
            "RegressionTask",
            "BinaryTask",
        ]

    def test_summary(self, wide):
        text = wide.summary()
        for part in ("6 tasks", "pressure: regression", "5 columns: age, city", "mlp, 2 x 12"):
            assert part in text

    def test_repr_is_short(self, wide):
        assert repr(wide) == "Bundle(1 x [pressure, sick, stage, sugar, visits, signs])"


class TestSaving:
    def test_a_folder_gets_the_usual_name(self, wide, tmp_path):
        wide.save(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]

    def test_a_new_folder_is_made(self, wide, tmp_path):
        wide.save(tmp_path / "new" / "b.safetensors")
        load(str(tmp_path / "new" / "b.safetensors"))

    def test_a_file_in_place_of_the_folder(self, wide, tmp_path):
        (tmp_path / "run").write_text("text")
        with pytest.raises(FileProblem, match="is a file, not a folder"):
            wide.save(tmp_path / "run" / "b.safetensors")
        assert (tmp_path / "run").read_text() == "text"

    @pytest.mark.parametrize(
        "point", ["bundle.before-write", "atomic.before-fsync", "atomic.before-rename"]
    )
    def test_a_full_disk_leaves_the_earlier_bundle(
        self, wide, long, table, tmp_path, monkeypatch, point
    ):
        wide.save(tmp_path)
        monkeypatch.setattr(fail_points, "_ARMED", parse(f"{point}!error"))
        with pytest.raises(FileProblem, match="no space left on device"):
            long.save(tmp_path)
        same(load(tmp_path).predict(table), wide.predict(table))
        assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]

    @pytest.mark.parametrize(
        "point", ["bundle.before-write", "atomic.before-fsync", "atomic.after-rename"]
    )
    def test_a_kill_leaves_a_good_bundle(self, wide, table, tmp_path, point):
        wide.save(tmp_path)
        code = "import polytask, sys; polytask.load(sys.argv[1]).save(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "POLYTASK_FAIL_POINT": point},
            check=False,
        )
        assert done.returncode == KILLED
        same(load(tmp_path).predict(table), wide.predict(table))


class TestBadFiles:
    @pytest.fixture
    def saved(self, wide, tmp_path):
        wide.save(tmp_path)
        return tmp_path / FILE_NAME

    def test_missing(self, tmp_path):
        with pytest.raises(FileProblem, match="does not exist"):
            load(tmp_path / "nothing")
        with pytest.raises(FileProblem, match=r"has no model\.safetensors"):
            load(tmp_path)

    def test_truncated(self, saved):
        data = saved.read_bytes()
        for tenth in range(10):
            saved.write_bytes(data[: len(data) * tenth // 10])
            with pytest.raises(CorruptFile, match="truncated"):
                load(saved)

    def test_tampered(self, saved):
        data = bytearray(saved.read_bytes())
        for position in (0, 20, len(data) // 2, len(data) - 1):
            changed = bytearray(data)
            changed[position] ^= 1
            saved.write_bytes(changed)
            with pytest.raises(CorruptFile):
                load(saved)

    def test_of_a_newer_version(self, saved):
        tensors, document = read_archive(saved, kind="bundle", schema_version=1)
        write_archive(saved, tensors, document, kind="bundle", schema_version=3)
        with pytest.raises(CorruptFile, match=r"schema version 3;.*Install a newer polytask"):
            load(saved)

    def test_a_checkpoint(self, tmp_path):
        write_archive(tmp_path / "c", {}, {}, kind="checkpoint", schema_version=1)
        with pytest.raises(CorruptFile, match="is a checkpoint, not a bundle"):
            load(tmp_path / "c")

    @pytest.mark.parametrize(
        "change",
        [
            lambda t, d: d.pop("tasks"),
            lambda t, d: d.pop("architecture"),
            lambda t, d: d["architecture"].pop("backbone"),
            lambda t, d: d["architecture"].update(backbone="os.system"),
            lambda t, d: d["architecture"].update(width=5),
            lambda t, d: d["architecture"].update(colour="red"),
            lambda t, d: d["groups"].pop(),
            lambda t, d: d["groups"][0].update(indices=[99]),
            lambda t, d: d["form"].update(form="round"),
            lambda t, d: d["encoder"].update(columns=[{"type": "odd", "name": "a"}]),
            lambda t, d: d.update(members=[]),
            lambda t, d: d.update(tasks=[{"task": "system", "spec": "Binary", "options": {}}]),
            lambda t, d: t.pop("encoder.numbers"),
            lambda t, d: t.pop("member0.backbone.layers.0.weight"),
            lambda t, d: t.update({"member0.extra": torch.ones(1)}),
        ],
        ids=range(15),
    )
    def test_consistent_checksum_and_wrong_content(self, saved, change):
        tensors, document = read_archive(saved, kind="bundle", schema_version=1)
        change(tensors, document)
        write_archive(saved, tensors, document, kind="bundle", schema_version=1)
        with pytest.raises(PolytaskError) as caught:
            load(saved)
        assert "\n" not in str(caught.value)

    def test_a_model_that_is_not_asked_for(self, saved):
        with pytest.raises(InvalidArgument, match="must be left out"):
            load(saved, model=torch.nn.Linear(1, 1))
