from roadbed.router.sessions import SessionMap, Visit


def test_visits_end_with_their_time_to_live() -> None:
    sessions = SessionMap(ttl_s=10)
    sessions.put("a", Visit(1, 2, 30, at=5.0))
    assert sessions.get("a", 15.0) == Visit(1, 2, 30, 5.0)
    assert sessions.get("a", 15.1) is None
    assert len(sessions) == 0


def test_the_map_is_bounded_least_recent_first() -> None:
    sessions = SessionMap(max_sessions=2)
    for name in ("a", "b", "a", "c"):
        sessions.put(name, Visit(0, 0, 0, 1.0))
    assert [name for name in "abc" if sessions.get(name, 1.0)] == ["a", "c"]
