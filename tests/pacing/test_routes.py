from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.routes import Rota, Route

weights = st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5]), min_size=1, max_size=5)


def routes_of(shares: list[float], rank: int = 0) -> list[Route]:
    return [Route(f"lane {rank}.{n}", n, rank, share) for n, share in enumerate(shares)]


def turns(rota: Rota, count: int, among: list[Route]) -> list[Route]:
    taken = []
    for _ in range(count):
        order = rota.order(among)
        rota.took(order[0], order)
        taken.append(order[0])
    return taken


@given(weights, st.integers(1, 200))
def test_each_way_has_its_share_to_within_its_turn(shares, count):
    routes = routes_of(shares)
    taken = Counter(route.lane for route in turns(Rota(routes), count, routes))
    for route in routes:
        assert abs(taken[route.lane] - count * route.weight / sum(shares)) <= len(routes)


def test_turns_are_spread_and_not_in_bursts():
    routes = routes_of([2.0, 1.0])
    assert [route.gate for route in turns(Rota(routes), 6, routes)] == [0, 1, 0, 0, 1, 0]


@given(weights, st.integers(1, 50))
def test_who_could_not_send_does_not_catch_up(shares, count):
    """The first way is closed for a while; then it has its share again, and no more."""
    routes = routes_of([*shares, 1.0])
    rota = Rota(routes)
    turns(rota, count, routes[1:])
    taken = Counter(route.lane for route in turns(rota, 100, routes))
    assert abs(taken[routes[0].lane] - 100 * routes[0].weight / sum(route.weight for route in routes)) <= len(routes)


@given(weights, weights, st.data())
def test_a_fallback_is_asked_only_when_every_way_before_it_is_closed(first, second, data):
    routes = routes_of(first) + routes_of(second, 1)
    among = data.draw(st.lists(st.sampled_from(routes), unique=True))
    order = Rota(routes).order(among)
    assert {route.rank for route in order} == ({min(route.rank for route in among)} if among else set())
    assert sorted(order) == sorted(route for route in among if route.rank == order[0].rank)


def test_the_lane_that_failed_comes_last():
    routes = routes_of([9.0, 1.0])
    assert [route.gate for route in Rota(routes).order(routes, last="lane 0.0")] == [1, 0]
    assert [route.gate for route in Rota(routes).order(routes[:1], last="lane 0.0")] == [0]
