"""The queue whose owners take turns."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.fairqueue import FairQueue

Item = tuple[str, int]

OWNERS = st.lists(st.sampled_from("abc"), max_size=40)


def filled(owners: list[str]) -> FairQueue[Item]:
    """The n-th item is its owner and n."""
    queue: FairQueue[Item] = FairQueue()
    for n, owner in enumerate(owners):
        queue.put(owner, (owner, n))
    return queue


def take(queue: FairQueue[Item]) -> Item:
    owner = queue.next_owner()
    assert owner is not None
    return queue.take(owner)


class FairQueueTests(SynchronousTestCase):
    @given(OWNERS)
    def test_all_that_was_put_in_comes_out_in_each_owners_order(self, owners: list[str]) -> None:
        queue = filled(owners)
        self.assertEqual(len(queue), len(owners))
        taken = [take(queue) for _ in owners]
        self.assertEqual(len(queue), 0)
        self.assertIsNone(queue.next_owner())
        self.assertRaises(KeyError, queue.take, "a")
        for owner in "abc":
            own = [n for who, n in taken if who == owner]
            self.assertEqual(own, [n for n, who in enumerate(owners) if who == owner])

    @given(OWNERS)
    def test_nobody_is_served_twice_while_another_waits(self, owners: list[str]) -> None:
        queue = filled(owners)
        served: dict[str, int] = defaultdict(int)
        for _ in owners:
            waiting = [owner for owner in "abc" if queue.waiting(owner)]
            owner, _ = take(queue)
            served[owner] += 1
            for other in waiting:
                self.assertGreaterEqual(served[other] + 1, served[owner])

    def test_owners_can_be_passed_over_and_keep_their_turn(self) -> None:
        queue = filled(list("aabc"))
        self.assertEqual(queue.next_owner(passing_over={"a"}), "b")
        self.assertEqual(queue.take("b"), ("b", 2))
        self.assertIsNone(queue.next_owner(passing_over={"a", "c"}))
        self.assertEqual([take(queue) for _ in range(3)], [("a", 0), ("c", 3), ("a", 1)])

    def test_the_longest_line_gives_way_by_its_latest(self) -> None:
        queue = filled(list("abaa"))
        self.assertEqual(queue.give_way("c"), ("a", 3))
        self.assertEqual(queue.give_way("c"), ("a", 2))
        self.assertIsNone(queue.give_way("c"), "each has one now")
        self.assertEqual([take(queue), take(queue)], [("a", 0), ("b", 1)])

    def test_no_line_gives_way_to_one_that_would_be_as_long(self) -> None:
        queue = filled(list("aab"))
        self.assertIsNone(queue.give_way("b"))
        self.assertIsNone(queue.give_way("a"))
        self.assertIsNone(filled([]).give_way("a"))
        self.assertEqual(len(queue), 3)
