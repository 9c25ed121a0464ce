"""The tree is sound, what people type is found, and the network only ever sees a division."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.categories import (
    DIVISIONS,
    BadPattern,
    UnknownCategory,
    canonical,
    data,
    division_of,
    division_of_topic,
    divisions_of_pattern,
    is_slug,
    label_of,
    matches_pattern,
    parents,
    resolve,
    search,
    topic,
    tree,
)

SLUGS = tuple(tree())
segments = st.sampled_from(("mobility", "car", "suv", "home", "x", "a-b", "0"))
paths = st.lists(segments, min_size=1, max_size=5).map(".".join)
pattern_parts = st.one_of(segments, st.sampled_from(("*", "**")))
patterns = st.lists(pattern_parts, min_size=1, max_size=6).map(".".join)


class TestTree:
    def test_has_the_divisions_the_code_names_in_their_order(self) -> None:
        assert tuple(slug for slug in SLUGS if "." not in slug) == DIVISIONS
        assert len(DIVISIONS) == 26

    def test_is_small(self) -> None:
        assert 230 <= len(SLUGS) <= 330
        assert max(slug.count(".") + 1 for slug in SLUGS) <= 5

    def test_every_slug_is_well_formed_and_has_its_parent(self) -> None:
        for slug in SLUGS:
            assert is_slug(slug)
            assert all(parent in tree() for parent in parents(slug))

    def test_every_slug_resolves_to_itself(self) -> None:
        assert [resolve(slug) for slug in SLUGS] == list(SLUGS)

    def test_aliases_are_unique_and_no_slugs(self) -> None:
        aliases = [alias for category in tree().values() for alias in category.aliases]
        assert len(set(aliases)) == len(aliases)
        assert not set(aliases) & set(SLUGS)
        for category in tree().values():
            assert all(is_slug(alias) and resolve(alias) == category.slug for alias in category.aliases)

    def test_labels_name_one_category_each(self) -> None:
        labels = [category.label for category in tree().values()]
        assert len(set(labels)) == len(labels)
        assert all(1 <= len(label) <= 80 for label in labels)

    def test_codes_look_like_what_they_claim_to_be(self) -> None:
        for category in tree().values():
            assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name in category.schema)
            assert all(re.fullmatch(r"\d{2}000000", code) for code in category.cpv)

    def test_no_category_says_how(self) -> None:
        hows = {"hire", "rental", "rent", "repair", "sale", "buy", "booking"}
        assert not [slug for slug in SLUGS if hows & set(re.split(r"[.-]", slug))]

    def test_rows_have_no_misspelt_column(self) -> None:
        for slug, row in data()["category"].items():
            assert set(row) <= {"label", "words", "schema", "cpv", "aliases"}, slug

    @pytest.mark.parametrize(
        "slug",
        "mobility.car mobility.car.suv mobility.van mobility.bike home.plumbing home.electrical home.painting "
        "home.cleaning lodging.hotel lodging.apartment lodging.chalet sport.ski sport.ski.equipment "
        "electronics.phone electronics.computer.laptop furniture.sofa".split(),
    )
    def test_has_what_the_documents_promise(self, slug: str) -> None:
        assert slug in tree()

    def test_is_not_read_for_topics(self) -> None:
        """A node that only relays does not pay for the tree."""
        program = (
            "import protocol.categories as c; "
            "c.topic('main', c.division_of('mobility.car')); c.division_of_topic('main', 'x'); "
            "raise SystemExit(c.data.cache_info().currsize)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestWords:
    @pytest.mark.parametrize(
        ("words", "slug"),
        [
            ("plumber", "home.plumbing"),
            ("Plumbers", "home.plumbing"),
            ("electrician", "home.electrical"),
            ("car hire", "mobility.car"),
            ("body shop", "mobility.car.body"),
            ("4x4", "mobility.car.suv"),
            ("hotel in Lyon", "lodging.hotel"),
            ("need a burst pipe fixed", "home.plumbing"),
            ("ski rental", "sport.ski.equipment"),
            ("used laptop", "electronics.computer.laptop"),
            ("couch", "furniture.sofa"),
            ("smartph", "electronics.phone"),
            ("b&b", "lodging.bed-and-breakfast"),
        ],
    )
    def test_find_the_category_first(self, words: str, slug: str) -> None:
        assert search(words)[0] == (slug, tree()[slug].label)

    def test_every_label_finds_its_category(self) -> None:
        for category in tree().values():
            assert search(category.label, 500).count((category.slug, category.label)) == 1

    def test_every_word_names_its_category_alone_or_among_others(self) -> None:
        for category in tree().values():
            for word in category.words:
                try:
                    named: tuple[str, ...] = (resolve(word),)
                except UnknownCategory as several:
                    named = several.suggestions
                assert category.slug in named, word

    @pytest.mark.parametrize("text", ["", "   ", "?!", "zzzzqqq", "\0", "日本"])
    def test_that_say_nothing_find_nothing(self, text: str) -> None:
        assert search(text) == []

    @pytest.mark.parametrize("text", ["plumber", " Plumber ", "PLUMBING", "home . plumbing", "Home.Plumbing"])
    def test_resolve_when_they_name_one_category(self, text: str) -> None:
        assert resolve(text) == "home.plumbing"

    def test_are_refused_with_what_is_nearest(self) -> None:
        with pytest.raises(UnknownCategory) as refused:
            resolve("moblity.car")
        assert refused.value.suggestions[0] == "mobility.car"
        assert "did you mean mobility.car" in str(refused.value)

    def test_that_stand_at_several_categories_are_refused_with_those(self) -> None:
        several = "garage"  # where cars are mended, and what a builder builds
        with pytest.raises(UnknownCategory) as refused:
            resolve(several)
        assert set(refused.value.suggestions) == {"mobility.car", "building.extension"}

    @given(st.text(max_size=40))
    def test_never_break_resolve(self, text: str) -> None:
        try:
            found: tuple[str, ...] = (resolve(text),)
        except UnknownCategory as unknown:
            found = unknown.suggestions
        assert set(found) <= set(SLUGS)


class TestCanonical:
    @pytest.mark.parametrize(
        ("slug", "expected"),
        [
            ("mobility.bicycle", "mobility.bike"),
            ("mobility.bicycle.electric", "mobility.bike.electric"),
            ("mobility.vehicle.car.suv", "mobility.car.suv"),
            ("mobility.car.hovering", "mobility.car.hovering"),
            ("vehicles.car", "mobility.car"),
            ("nowhere.at.all", "nowhere.at.all"),
        ],
    )
    def test_replaces_the_longest_alias_and_keeps_the_rest(self, slug: str, expected: str) -> None:
        assert canonical(slug) == expected

    @given(paths)
    def test_is_itself_canonical(self, path: str) -> None:
        assert canonical(canonical(path)) == canonical(path)

    def test_an_unknown_leaf_has_the_label_of_what_is_above(self) -> None:
        assert label_of("home.plumbing.sprinklers") == label_of("home.plumbing") == "Plumbing"
        assert label_of("nowhere.at.all") == "nowhere.at.all"


class TestTopics:
    @given(st.sampled_from(SLUGS), st.sampled_from(("main", "test-1", "x")))
    def test_carry_the_division_and_nothing_else(self, slug: str, net: str) -> None:
        division = division_of(slug)
        assert topic(net, division) == f"intentcast/1/{net}/intent/{division}"
        assert division_of_topic(net, topic(net, division)) == division

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "intentcast/1/main/intent/",
            "intentcast/1/other/intent/mobility",
            "intentcast/2/main/intent/mobility",
            "intentcast/1/main/intent/mobility.car",
            "intentcast/1/main/intent/mobility/car",
            "intentcast/1/main/intent/Mobility",
            "intentcast/1/main/intent/mobility\n",
            "intentcast/1/main/intent/" + "x" * 33,
            "mobility",
        ],
    )
    def test_of_others_are_not_ours(self, text: str) -> None:
        assert division_of_topic("main", text) is None

    def test_of_a_division_we_do_not_know_is_still_one(self) -> None:
        assert division_of_topic("main", "intentcast/1/main/intent/space") == "space"


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "category", "expected"),
        [
            ("mobility.car.**", "mobility.car", True),
            ("mobility.car.**", "mobility.car.suv", True),
            ("mobility.car.**", "mobility.car.suv.a.b", True),
            ("mobility.car.**", "mobility", False),
            ("mobility.car.**", "mobility.cart", False),
            ("mobility.car", "mobility.car.suv", False),
            ("mobility.*", "mobility.car", True),
            ("mobility.*", "mobility", False),
            ("mobility.*", "mobility.car.suv", False),
            ("**", "anything.at.all", True),
            ("*", "mobility", True),
            ("*", "mobility.car", False),
            ("**.suv", "mobility.car.suv", True),
            ("**.suv", "suv", True),
            ("**.car.**", "mobility.car.suv", True),
            ("**.car.*", "a.car.b.car.c", True),
            ("**.car.*", "a.car.b.car", False),
            ("mobility.**.suv", "mobility.suv", True),
            ("mobility.bicycle.**", "mobility.bike.electric", True),
            ("mobility.bike.**", "mobility.bicycle.electric", True),
        ],
    )
    def test_take_what_they_say(self, pattern: str, category: str, expected: bool) -> None:
        assert matches_pattern(pattern, category) is expected

    @given(patterns, paths)
    def test_agree_with_the_plain_definition(self, pattern: str, path: str) -> None:
        """`**` is none or more segments, `*` one: said recursively, it is the same."""

        def fits(wanted: list[str], found: list[str]) -> bool:
            if not wanted:
                return not found
            if wanted[0] == "**":
                return fits(wanted[1:], found) or (bool(found) and fits(wanted, found[1:]))
            return bool(found) and wanted[0] in ("*", found[0]) and fits(wanted[1:], found[1:])

        assert matches_pattern(pattern, path) is fits(pattern.split("."), path.split("."))

    @pytest.mark.parametrize(
        "pattern",
        ["", ".", "mobility.", ".car", "a..b", "Mobility", "mob*", "a.***", "a b", "a/b", "x.é", ".".join("a" * 10)],
    )
    def test_that_are_none_are_refused(self, pattern: str) -> None:
        with pytest.raises(BadPattern):
            matches_pattern(pattern, "mobility.car")

    @pytest.mark.parametrize(
        ("pattern", "divisions"),
        [
            ("**", DIVISIONS),
            ("*", DIVISIONS),
            ("*.car", DIVISIONS),
            ("**.suv", DIVISIONS),
            ("mobility.**", ("mobility",)),
            ("mobility", ("mobility",)),
            ("vehicles.**", ("mobility",)),
        ],
    )
    def test_name_the_divisions_to_hear(self, pattern: str, divisions: tuple[str, ...]) -> None:
        assert divisions_of_pattern(pattern) == divisions

    def test_of_an_unknown_division_are_refused_with_the_nearest(self) -> None:
        with pytest.raises(UnknownCategory) as refused:
            divisions_of_pattern("mobilty.**")
        assert refused.value.suggestions == ("mobility",)

    @given(patterns, st.sampled_from(SLUGS))
    def test_never_take_a_category_whose_division_they_do_not_name(self, pattern: str, slug: str) -> None:
        if matches_pattern(pattern, slug):
            assert division_of(slug) in divisions_of_pattern(pattern)
