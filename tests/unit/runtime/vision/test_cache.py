import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.vision import FeatureCache, FeatureKey


def key(name, **changes):
    return FeatureKey(**{"content": name, "geometry": "g", "vision_tower": "v", **changes})


def features(n_floats, value=0.0):
    return np.full((n_floats, 1), value, dtype=np.float32)


def test_every_part_of_the_key_counts():
    cache = FeatureCache(1000)
    cache.put(key("a"), features(1))
    others = [key("b"), key("a", geometry="h"), key("a", vision_tower="w"), key("a", single=True)]
    assert [cache.get(other) for other in others] == [None] * 4
    assert cache.get(key("a")) is not None
    assert (cache.hits, cache.misses) == (1, 4)


def test_least_recently_used_goes_first():
    cache = FeatureCache(12)
    for name in "abc":
        cache.put(key(name), features(1))
    cache.get(key("a"))
    cache.put(key("d"), features(1))
    assert [cache.get(key(name)) is not None for name in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.nbytes) == (3, 12)


def test_replacing_counts_the_bytes_once():
    cache = FeatureCache(100)
    cache.put(key("a"), features(5))
    cache.put(key("a"), features(2, value=3))
    assert cache.nbytes == 8
    assert np.array_equal(cache.get(key("a")), features(2, value=3))


def test_too_large_for_the_cache_evicts_nothing():
    cache = FeatureCache(8)
    cache.put(key("a"), features(2))
    cache.put(key("b"), features(3))
    assert cache.get(key("a")) is not None
    assert cache.get(key("b")) is None


def test_zero_bytes_keeps_nothing():
    cache = FeatureCache(0)
    cache.put(key("a"), features(1))
    assert (len(cache), cache.nbytes) == (0, 0)


def test_stored_features_cannot_be_changed():
    cache = FeatureCache(100)
    mine = features(2)
    cache.put(key("a"), mine)
    assert cache.get(key("a")) is mine
    with pytest.raises(ValueError, match="read-only"):
        mine[:] = 1


def test_a_part_of_an_array_is_copied():
    cache = FeatureCache(100)
    whole = features(3)
    cache.put(key("a"), whole[:2])
    whole[:] = 9
    stored = cache.get(key("a"))
    assert (stored == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        stored[:] = 1


def test_clear_keeps_the_counters():
    cache = FeatureCache(100)
    cache.put(key("a"), features(2))
    cache.get(key("a"))
    cache.clear()
    assert (len(cache), cache.nbytes, cache.hits) == (0, 0, 1)
    assert cache.get(key("a")) is None


def test_negative_limit():
    with pytest.raises(ValueError, match="not -1"):
        FeatureCache(-1)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.booleans())))
def test_never_above_its_limit_and_never_wrong(operations):
    cache = FeatureCache(40)
    latest = {}
    for name, n_floats, write in operations:
        if write:
            cache.put(key(name), features(n_floats, value=n_floats))
            if 4 * n_floats <= 40:
                latest[name] = n_floats
        else:
            found = cache.get(key(name))
            assert found is None or found.tolist() == [[latest[name]]] * latest[name]
        assert 0 <= cache.nbytes <= 40


def test_threads_share_it():
    cache = FeatureCache(40 * 4)
    failures = []

    def work(seed):
        dice = np.random.default_rng(seed)
        for number in dice.integers(0, 20, 400).tolist():
            found = cache.get(key(str(number)))
            if found is None:
                cache.put(key(str(number)), features(1 + number, value=number))
            elif not (found == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.hits + cache.misses == 1600
    cache_bytes = sum(4 * (1 + n) for n in range(20) if cache.get(key(str(n))) is not None)
    assert cache.nbytes == cache_bytes <= 160
