"""The world of `node.mesh`, with a memory of what everybody heard: for tests that look closely at few nodes."""

from collections.abc import Collection

from node.mesh.world import TOPIC, accept_all, is_ours
from node.mesh.world import Node as Bare
from node.mesh.world import World as Everywhere
from protocol.gossip import Deliver, Effect, Judge, Misbehaved, Params, Published

__all__ = ["OTHER", "TOPIC", "Node", "World", "accept_all", "is_ours"]

OTHER = "intentcast/1/test/intent/lodging"


class Node(Bare):
    def __init__(
        self, name: str, number: int, params: Params, judge: Judge, seed: int, static: Collection[str] = ()
    ) -> None:
        super().__init__(name, number, params, judge, seed, static)
        self.stalled: set[str] = set()
        self.heard: list[bytes] = []
        self.heard_at: dict[bytes, float] = {}
        self.published: list[Published] = []
        self.misbehaved: list[Misbehaved] = []


class World(Everywhere):
    nodes: dict[str, Node]

    def __init__(self, seed: int = 1, params: Params | None = None) -> None:
        super().__init__(seed, params)
        self.deliveries = 0

    def make_node(self, name: str, number: int, params: Params, judge: Judge, static: Collection[str]) -> Node:
        return Node(name, number, params, judge, self.seed, static)

    def publish(self, name: str, data: bytes, topic: str = TOPIC) -> Published:
        self.publish_now(name, data, topic)
        return self.nodes[name].published[-1]

    def observe(self, node: Bare, effect: Effect) -> None:
        assert isinstance(node, Node)
        match effect:
            case Deliver():
                node.heard.append(effect.data)
                node.heard_at[effect.data] = self.now
                self.deliveries += 1
            case Published():
                node.published.append(effect)
            case Misbehaved():
                node.misbehaved.append(effect)
