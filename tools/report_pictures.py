"""Make the report's pictures that the docs show: `python -m tools.report_pictures`.

They show the 250 CLIP ViT-B/16 pairs of COCO val2017 that lie in shared/data beside the checkout: all of them as they
are, and every method fitted to four fifths and judged on the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from isthmus.core.aligners import FITTED_METHODS, Label
from isthmus.core.gap import Corpus, measure_gap
from isthmus.core.recipe import RawPairs, fit_and_judge
from isthmus.evaluation.report import ReportContents, View, compared_contents, draw_pictures
from isthmus.evaluation.report.figures import standalone

_ROOT: Final = Path(__file__).resolve().parents[1]
_PAIRS: Final = _ROOT.parent / "shared" / "data" / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
_IMAGES: Final = _ROOT / "docs" / "images"
_SPACE: Final = "clip-vit-b-16@00000000"


def main() -> None:
    """Draw both and write them."""
    with np.load(_PAIRS, allow_pickle=False) as arrays:
        images, texts = arrays["image"], arrays["text"]
    keys = [str(row) for row in range(len(images))]
    pairs = RawPairs(images=images, texts=texts, image_keys=keys, text_keys=keys, image_space=_SPACE, text_space=_SPACE)
    view = View.of(Corpus.of(images, texts), gap=measure_gap(images, texts))
    whole = draw_pictures(ReportContents(subject=_PAIRS.name, before=view))
    judged = {
        method: fit_and_judge(method, pairs, label=Label(aligner_id=method, created_by="tools.report_pictures"))
        for method in FITTED_METHODS
    }
    compared = draw_pictures(compared_contents(_PAIRS.name, pairs, judged, refused={}))
    for name, picture in (("gap-clouds", whole["projection_before"]), ("gap-tradeoff", compared["tradeoff_image"])):
        path = _IMAGES / f"{name}.svg"
        path.write_text(standalone(picture), encoding="utf-8")
        print(f"{path.relative_to(_ROOT)}: {picture.alt}")


if __name__ == "__main__":
    main()
