"""Features as points of a plane: principal components and t-SNE."""

import numpy as np

from .probe import MISSING

METHODS = ('pca', 'tsne')


def embed(features: np.ndarray, method: str = 'pca', seed: int = 0) -> np.ndarray:
    """Points of a plane; every feature is standardised before.

    Args:
        features: (N, C), N > 3.
        method: ``'pca'``, the two directions of the largest variance, or ``'tsne'``, where near
            neighbours stay near (perplexity 30, less for fewer points). Distances between groups of
            points say nothing in ``'tsne'``.
        seed: Of t-SNE.

    Returns:
        (N, 2).

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: The method is unknown.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(MISSING) from error
    if method not in METHODS:
        raise ValueError(f'the method is one of {", ".join(METHODS)}, not {method!r}')
    standardised = StandardScaler().fit_transform(features)
    if method == 'pca':
        return PCA(2, svd_solver='full').fit_transform(standardised)
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init='pca', random_state=seed)
    return tsne.fit_transform(standardised)
