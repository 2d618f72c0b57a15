from tasks.core.pages.distributions import distribution_of


def test_values_are_counted_between_edges() -> None:
    """An edge belongs to the bar above it; the last bar has no end, the first takes what is below it."""
    found = distribution_of("Volume", [-1, 0, 0.99, 1, 9.5, 10, 400, None], (0, 1, 10))
    assert found.counts == (3, 2, 2)
    assert found.labels == ("0 to 1", "1 to 10", "10 and more")
    assert (found.n_scans, found.median) == (7, 1)


def test_heights_are_shares_of_the_largest_bar() -> None:
    """Without any scan all are 0."""
    assert distribution_of("Volume", [0, 0, 1], (0, 1)).heights == (1, 0.5)
    assert distribution_of("Volume", [None], (0, 1)).heights == (0, 0)


def test_shares_are_shown_in_per_cent() -> None:
    """Bars are of the values, labels of what is shown."""
    assert distribution_of("Share", [0.2], (0, 0.1, 0.3), unit_share=100).labels == (
        "0 to 10",
        "10 to 30",
        "30 and more",
    )


def test_large_edges_are_written_as_counts_are() -> None:
    """With a comma between thousands."""
    assert distribution_of("Area", [5], (0, 10_000)).labels == ("0 to 10,000", "10,000 and more")
