from batcher.job.held import LEAST_LETTERS, held, hold


def test_a_long_key_is_held_and_a_word_is_not():
    hold("held-0123456789")
    hold("held-0123456789-and-more")
    hold("x" * (LEAST_LETTERS - 1))

    assert "x" * (LEAST_LETTERS - 1) not in held()
    longest_first = [key for key in held() if key.startswith("held-")]
    assert longest_first == ["held-0123456789-and-more", "held-0123456789"]
