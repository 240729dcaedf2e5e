"""How far to trust a result, case by case and class by class, without labels (mode `default`).

Every result has witnesses: the labels that the support and each helping case send to the same case, the case's one-shot
mask, and what the trained network alone says. How far all of them agree says how good each is, the result among them.
They also err together; how much is seen on the support, whose region is known: there the helping cases alone make a
mask and its witnesses. The region itself may be wrong, and then all are: a result is trusted as far as the region's
border was made by the image, not by limits, and as labels sent to a voter's case and back return.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import is_made_of, read_json, sha256_of_file, sha256_of_settings, write_json
from scripts.common.overlap import dice_of
from scripts.data.cohort import Cohort
from scripts.data.volume_io import read_labels, read_volume
from scripts.label_propagation.label_fusion import ATLAS_LABELS, ON_SUPPORT
from scripts.quality.agreement import agreements, qualities, quality_interval
from scripts.quality.evidence import AtlasLabels, ClassMeasurement, CohortStatistics, ConfidencePenalty, TrustRule
from scripts.quality.records import NETWORK, STAGE

logger = logging.getLogger(__name__)

RESULT = "result"
MASK = "one-shot mask"
NAMED = 3  # witnesses named in a reason


class SelfCheck:
    """Writes `self_check/ID.json`: per class the predicted Dice, an interval, a flag and why.

    Args:
        cohort: with support and classes.
        output_dir: the work directory, with `propagation/`, `pseudo_labels/` and `on_support/`.
        support_mask: label map of the support's whole organs on its own grid.
        support_mask_record: what was found when it was grown, with `border_confidence`; None where the user gave the region.
        results_dir: label maps to be checked, `ID.nii.gz` on each case's own grid.
        rule: see `TrustRule`.
        network_dir: the network's own label maps, another witness where they are no results themselves; None for
            `network/` in the work directory. Of `pseudo_labels/`, from which a network learns, it is none.
        checks_dir: where `ID.json` goes; None for `self_check/` in the work directory.

    Raises:
        BundleError: no support in the cohort.
    """

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        support_mask: str | Path,
        results_dir: str | Path,
        rule: TrustRule | None = None,
        network_dir: str | Path | None = None,
        checks_dir: str | Path | None = None,
        support_mask_record: str | Path | None = None,
    ) -> None:
        if cohort.support is None:
            raise BundleError("the self-check needs a support", stage=STAGE, file=cohort.output_dir)
        self.cohort, self.rule = cohort, rule or TrustRule()
        self.output_dir, self.results_dir, self.support_mask = Path(output_dir), Path(results_dir), Path(support_mask)
        self.network_dir = self.output_dir / NETWORK if network_dir is None else Path(network_dir)
        self.support_mask_record = None if support_mask_record is None else Path(support_mask_record)
        self.folder = self.output_dir / STAGE if checks_dir is None else Path(checks_dir)
        self.learnt_from = self.results_dir.absolute() == (self.output_dir / "pseudo_labels").absolute()

    def run(self, case_ids: Sequence[str] | None = None) -> list[str]:
        """Check the cases (default: all that have a result, but the support) that are not up to date.

        Under torch.distributed every process takes its share. Returns the names of those checked.

        Raises:
            BundleError: a case was not propagated.
        """
        rank, world = rank_and_world()
        cases = [c for c in sorted(self.cohort.cases) if c != self.cohort.support] if case_ids is None else case_ids
        results = {case: sha256_of_file(self._result(case)) for case in cases if self._result(case).exists()}
        inputs = {case: self._inputs(case, results) for case in results}
        todo = [c for c in list(results)[rank::world] if not is_made_of(self.folder / f"{c}.json", inputs[c])]
        if not todo:
            return []
        seen = {case: self._seen(case) for case in results}
        usual = {name: CohortStatistics.of([found[name] for found in seen.values()]) for name in self.cohort.classes}
        shared, border_confidence = self._shared_quality(), self._sureness()
        logger.info("quality that all witnesses share, seen on the support: %.2f", shared)
        for case in tqdm(todo, desc="self-check", unit="case", disable=rank > 0):
            found = self._check(case, seen[case], usual, shared, border_confidence)
            write_json(self.folder / f"{case}.json", {"case": case, **found, "inputs": inputs[case]})
        return todo

    def _check(
        self,
        case: str,
        seen: Mapping[str, ClassMeasurement],
        usual: Mapping[str, CohortStatistics],
        shared: float,
        border_confidence: Mapping[str, float],
    ) -> dict[str, Any]:
        atlases = AtlasLabels(read_json(self._propagated(case, ".json")), self._propagated(case, ATLAS_LABELS))
        similarity = atlases.record["similarity"]
        unlike = similarity < self.rule.least_similarity
        everybody = self._witnesses(case, atlases)
        classes = {}
        for name, value in self.cohort.classes.items():
            raters = atlases.about(name, everybody)
            table = agreements([label == value for label in raters.values()])
            known = case in raters
            agreed, interval = self._agreed(table, shared, known)
            if unlike:  # what bodies of another kind say of this one, they may well agree about
                agreed, interval = 0.0, (0.0, 0.0)
            doubts = ConfidencePenalty()
            if not known:
                mean_round_trip_dice = atlases.record["mean_round_trip_dice"][name]
                doubts = ConfidencePenalty(
                    border_confidence.get(name, 1.0), mean_round_trip_dice, self.rule.good_round_trip
                )
            agreement = dict(zip(list(raters)[1:], table[0, 1:].tolist(), strict=True))
            reasons = self._reasons(agreed, doubts, agreement, seen[name], usual[name])
            classes[name] = {
                "predicted_dice": round(agreed * doubts.factor, 4),
                "interval": [round(interval[0] * doubts.factor, 4), round(interval[1], 4)],
                "agreed_dice": round(agreed, 4),
                "border_confidence": round(doubts.border_confidence, 4),
                "agreement": {rater: round(dice, 4) for rater, dice in agreement.items()},
                "volume_ml": round(seen[name].volume_ml, 2),
                "median_hu": round(seen[name].hu, 1) if seen[name].volume_ml else None,
                "flagged": unlike or bool(reasons),
                "reasons": reasons,
            }
        about = {"similarity": similarity, "shared_quality": round(shared, 4)}
        reasons = [f"the body is unlike the support's: similarity {similarity:.2f}"] if unlike else []
        return {**about, "flagged": unlike, "reasons": reasons, "classes": classes}

    def _agreed(self, table: np.ndarray, shared: float, known: bool) -> tuple[float, tuple[float, float]]:
        """Dice of the first witness as far as all agree, and its interval; `known`: the last one is the truth."""
        if known:
            return float(table[0, -1]), (float(table[0, -1]),) * 2
        low, high = quality_interval(table, 0)
        return shared * float(qualities(table)[0]), (shared * low, shared * high)

    def _witnesses(self, case: str, atlases: AtlasLabels) -> dict[str, np.ndarray]:
        """Name -> (X, Y, Z) label values at the working spacing, the result first.

        Of a case whose label map the user accepted, that is the only other one, by the case's own name.
        """
        raters = {RESULT: atlases.on_grid(self._result(case))}
        labels = atlases.labels()
        if list(labels) == [case]:
            return raters | labels
        result = sha256_of_file(self._result(case))
        for name, file in ((MASK, self._mask(case)), (NETWORK, self._network(case))):
            if file is not None and file.exists() and sha256_of_file(file) != result:
                raters[name] = atlases.on_grid(file)
        return raters | labels

    def _shared_quality(self) -> float:
        """True over predicted Dice of the mask that the helping cases make on the support: median over classes.

        1 where there are no helping cases: what the witnesses get wrong together is then unknown.
        """
        mask, record, file = self._tests()
        if not mask.exists():
            return 1.0
        atlases = AtlasLabels(read_json(record), file)
        label, truth = atlases.on_grid(mask), atlases.on_grid(self.support_mask)
        raters = {RESULT: label, **atlases.labels()}
        ratios = []
        for name, value in self.cohort.classes.items():
            table = agreements([rater == value for rater in atlases.about(name, raters).values()])
            predicted = float(qualities(table)[0])
            ratios += [dice_of(label == value, truth == value) / predicted] if predicted > 0 else []
        return min(1.0, float(np.median(ratios))) if ratios else 1.0

    def _sureness(self) -> dict[str, float]:
        """Class -> how far the image, not a limit, made its region's border; nothing of a region that was given."""
        if self.support_mask_record is None or not self.support_mask_record.exists():
            return {}
        return read_json(self.support_mask_record).get("border_confidence", {})

    def _reasons(
        self,
        agreed: float,
        doubts: ConfidencePenalty,
        agreement: Mapping[str, float],
        seen: ClassMeasurement,
        usual: CohortStatistics,
    ) -> list[str]:
        """Why a class is flagged."""
        if seen.volume_ml == 0:
            return ["not found"]
        reasons = []
        if agreed < self.rule.least_dice:
            least = sorted(agreement.items(), key=lambda item: item[1])[:NAMED]
            told = ", ".join(f"{name} {dice:.2f}" for name, dice in least)
            reasons.append(f"it agrees little with {told}")
        elif agreed * doubts.factor < self.rule.least_dice:
            reasons += doubts.in_words()
        if agreement.get(NETWORK, 1.0) < self.rule.least_dice:  # which is right, it or the votes, nobody knows
            reasons.append(f"the network alone finds something else: Dice {agreement[NETWORK]:.2f}")
        volume, factor = seen.volume_ml, self.rule.volume_factor
        if usual.volume_ml > 0 and not 1 / factor <= volume / usual.volume_ml <= factor:
            reasons.append(f"its volume, {volume:.0f} ml, is unlike the cohort's: median {usual.volume_ml:.0f} ml")
        if abs(seen.hu - usual.hu) > max(self.rule.tissue_hu, self.rule.tissue_spread * usual.spread_hu):
            reasons.append(f"its tissue, {seen.hu:.0f} HU, is unlike the cohort's: median {usual.hu:.0f} HU")
        return reasons

    def _seen(self, case: str) -> dict[str, ClassMeasurement]:
        label, image = read_labels(self._result(case)), read_volume(self.cohort.cases[case].image)
        voxel_ml = float(np.prod(label.spacing_mm)) / 1000
        found = {}
        for name, value in self.cohort.classes.items():
            tissue = image.array[label.array == value]
            found[name] = ClassMeasurement(
                tissue.size * voxel_ml, float(np.median(tissue)) if tissue.size else float("nan")
            )
        return found

    def _propagated(self, case: str, ending: str) -> Path:
        file = self.output_dir / "propagation" / f"{case}{ending}"
        if not file.exists():
            raise BundleError("the case was not propagated", case=case, stage=STAGE, file=file)
        return file

    def _result(self, case: str) -> Path:
        return self.results_dir / f"{case}.nii.gz"

    def _mask(self, case: str) -> Path:
        return self.output_dir / "pseudo_labels" / f"{case}.nii.gz"

    def _network(self, case: str) -> Path | None:
        return None if self.learnt_from else self.network_dir / f"{case}.nii.gz"

    def _tests(self) -> tuple[Path, Path, Path]:
        """On the support, by the helping cases alone: mask, record, voters."""
        folder, support = self.output_dir / ON_SUPPORT, self.cohort.support
        propagated = folder / "propagation"
        mask = folder / "pseudo_labels" / f"{support}.nii.gz"
        return mask, propagated / f"{support}.json", propagated / f"{support}{ATLAS_LABELS}"

    def _inputs(self, case: str, results: Mapping[str, str]) -> str:
        """Every result counts: what volume is usual depends on all of them."""
        used = [
            self._propagated(case, ATLAS_LABELS),
            self._propagated(case, ".json"),
            self._mask(case),
            self._network(case),
        ]
        used += [self.support_mask, self.support_mask_record, *self._tests()]
        hashes = [sha256_of_file(file) if file is not None and file.exists() else None for file in used]
        classes = list(self.cohort.classes.items())
        return sha256_of_settings([asdict(self.rule), classes, self.cohort.support, case, hashes, dict(results)])
