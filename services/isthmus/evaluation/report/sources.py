"""Where the measures come from; the keys are those of docs/references.bib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SOURCES", "Source"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One publication."""

    short: str
    """As a table names it."""
    title: str
    """Its whole title."""
    venue: str
    """Where it appeared."""


SOURCES: Final[dict[str, Source]] = {
    "liang:22:gap": Source(
        short="Liang et al. 2022",
        title="Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning",
        venue="NeurIPS",
    ),
    "role:25:fill": Source(
        short="Role et al. 2025",
        title="Fill the Gap: Quantifying and Reducing the Modality Gap in Image-Text Representation Learning",
        venue="arXiv:2505.03703",
    ),
    "schrodi:25:two": Source(
        short="Schrodi et al. 2025",
        title="Two Effects, One Trigger: On the Modality Gap, Object Bias, and Information Imbalance in Contrastive "
        "Vision-Language Models",
        venue="ICLR",
    ),
    "heusel:17:fid": Source(
        short="Heusel et al. 2017",
        title="GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        venue="NeurIPS",
    ),
    "bonneel:15:sliced": Source(
        short="Bonneel et al. 2015",
        title="Sliced and Radon Wasserstein Barycenters of Measures",
        venue="Journal of Mathematical Imaging and Vision",
    ),
    "feydy:19:sinkhorn": Source(
        short="Feydy et al. 2019",
        title="Interpolating between Optimal Transport and MMD using Sinkhorn Divergences",
        venue="AISTATS",
    ),
    "gretton:12:mmd": Source(
        short="Gretton et al. 2012",
        title="A Kernel Two-Sample Test",
        venue="Journal of Machine Learning Research",
    ),
    "wang:20:uniformity": Source(
        short="Wang and Isola 2020",
        title="Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
        venue="ICML",
    ),
    "radovanovic:10:hubs": Source(
        short="Radovanović et al. 2010",
        title="Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data",
        venue="Journal of Machine Learning Research",
    ),
    "faghri:18:vsepp": Source(
        short="Faghri et al. 2018",
        title="VSE++: Improving Visual-Semantic Embeddings with Hard Negatives",
        venue="BMVC",
    ),
    "naeini:15": Source(
        short="Naeini et al. 2015",
        title="Obtaining Well Calibrated Probabilities Using Bayesian Binning",
        venue="AAAI",
    ),
    "platt:99": Source(
        short="Platt 1999",
        title="Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods",
        venue="Advances in Large Margin Classifiers",
    ),
}
"""By key."""
