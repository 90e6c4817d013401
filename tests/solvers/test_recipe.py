import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipr.errors import RecipeError
from napari_dipr.solvers.alm import ALM
from napari_dipr.solvers.coherence import PartialCoherence
from napari_dipr.solvers.projections import DM, ER, HIO, RAAR, RRR
from napari_dipr.solvers.recipe import Recipe, Settling, Stage
from napari_dipr.solvers.shrinkwrap import ShrinkWrap

algorithms = st.one_of(
    st.just(ER()),
    st.builds(HIO, beta=st.floats(0, 2, exclude_min=True)),
    st.builds(RAAR, beta=st.floats(0, 1, exclude_min=True)),
    st.builds(DM, beta=st.floats(0, 2, exclude_min=True)),
    st.builds(RRR, beta=st.floats(0, 2, exclude_min=True, exclude_max=True)),
    st.builds(
        ALM,
        penalty=st.floats(0, 10, exclude_min=True),
        penalty_max=st.floats(0, 1e4, exclude_min=True),
        inner=st.integers(1, 1000),
        history=st.integers(1, 50),
    ),
)
stages = st.builds(Stage, algorithm=algorithms, iterations=st.integers(1, 1_000_000))
shrinkwraps = st.builds(
    ShrinkWrap,
    every=st.integers(1, 99),
    sigma=st.floats(0, 10),
    threshold=st.floats(0, 1, exclude_min=True, exclude_max=True),
    reference=st.sampled_from(["maximum", "rms"]),
    growth=st.floats(0, 1000, exclude_min=True),
    dilate=st.integers(0, 20),
)
coherences = st.builds(PartialCoherence, start=st.just(1), window=st.integers(3, 65), sigma=st.floats(0.1, 10))
settlings = st.builds(Settling, every=st.integers(1, 99), gain=st.floats(1e-6, 0.5), solved=st.floats(0, 0.5))


@given(
    st.lists(stages, min_size=1, max_size=4),
    st.none() | shrinkwraps,
    st.none() | coherences,
    st.none() | settlings,
    st.none() | shrinkwraps,
)
def test_a_recipe_is_read_back_from_its_own_text(stages, shrinkwrap, coherence, settling, other):
    recipe = Recipe(stages=tuple(stages), shrinkwrap=shrinkwrap, coherence=coherence, settling=settling)
    try:
        recipe.check()
    except RecipeError:
        with pytest.raises(RecipeError):
            Recipe.parse(str(recipe))
    else:
        assert Recipe.parse(str(recipe)) == recipe
        # The CLI and the window have a shrink-wrap at hand: the text says whether there is one.
        assert Recipe.parse(str(recipe), shrinkwrap=other) == recipe


@given(st.lists(stages, min_size=1, max_size=4), st.one_of(st.none(), st.builds(ShrinkWrap, every=st.integers(1, 99))))
def test_a_recipe_is_read_back_from_its_json(stages, shrinkwrap):
    recipe = Recipe(stages=tuple(stages), shrinkwrap=shrinkwrap)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_text_is_as_short_as_a_person_would_write_it():
    assert str(Recipe(stages=(Stage(algorithm=HIO(), iterations=300), Stage(algorithm=ER(), iterations=50)))) == (
        "hio*300 + er*50; shrinkwrap"
    )
    assert str(Recipe.parse("raar(beta=0.9)*300 + er*50")) == "raar*300 + er*50; no shrinkwrap"
    assert str(Recipe.parse(" HIO( beta = 0.8 ) * 300+er *50 ;No  Shrinkwrap; coherence( every = 7 )")) == (
        "hio(beta=0.8)*300 + er*50; no shrinkwrap; coherence(every=7)"
    )


def test_presets_have_the_iterations_that_were_asked_for():
    assert str(Recipe.parse("hio")) == "hio*270 + er*30; no shrinkwrap"
    assert str(Recipe.parse("hio", iterations=200)) == "hio*180 + er*20; no shrinkwrap"
    assert str(Recipe.parse("hio", iterations=3)) == "hio*3; no shrinkwrap"
    assert str(Recipe.parse("raar", iterations=200, beta=0.8)) == "raar(beta=0.8)*180 + er*20; no shrinkwrap"
    assert str(Recipe.parse("alm", iterations=7)) == "alm*7; no shrinkwrap"
    assert Recipe.parse("hio", iterations=1234).iterations == 1234


@pytest.mark.parametrize("iterations", [0, -3, 1_000_001])
def test_a_preset_refuses_a_number_of_iterations_that_cannot_be(iterations):
    with pytest.raises(RecipeError, match=f"{iterations} iterations"):
        Recipe.parse("hio", iterations=iterations)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "part '' was not understood.*NAME one of er, hio, raar, dm, rrr, alm, detwin, poisson, gaussian; "
            "or a preset: hio, raar, alm, thorough, auto",
        ),
        ("hio*300 +", "part '' was not understood"),
        ("hip*300", r"part 'hip\*300' was not understood"),
        ("er", "part 'er' was not understood"),
        ("hio*-3", "was not understood"),
        ("hio*3.5", "was not understood"),
        ("hio*0", "iterations: .*greater than or equal to 1.*got 0"),
        ("hio*99999999", "iterations: .*less than or equal to 1000000"),
        ("er*5 + hio(beta=3)*5", r"part 'hio\(beta=3\)\*5' has options that do not fit: beta: .*equal to 2.*got '3'"),
        ("hio(beta=nan)*5", "beta"),
        ("hio(beta=high)*5", "beta: .*valid number.*got 'high'"),
        ("hio(gamma=1)*5", "gamma: Extra inputs are not permitted"),
        ("hio(beta)*5", "'beta' where OPTION=VALUE is expected"),
        ("er(beta=1)*5", "beta"),
    ],
)
def test_text_that_cannot_be_read_is_refused_with_the_part_and_the_reason(text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.parse(text)
    assert "\n" not in str(caught.value)


def test_a_text_with_iterations_takes_no_others():
    with pytest.raises(RecipeError, match=r"states its own iterations.*100"):
        Recipe.parse("hio*300", iterations=100)


def test_a_group_of_stages_is_repeated_and_written_as_short_as_it_was_read():
    recipe = Recipe.parse("(raar*80 + er*20)*3 + hio(beta=0.8)*10")
    assert [str(stage) for stage in recipe.stages] == ["raar*80", "er*20"] * 3 + ["hio(beta=0.8)*10"]
    assert str(recipe) == "(raar*80 + er*20)*3 + hio(beta=0.8)*10; no shrinkwrap"
    nested = Recipe.parse("((er*1 + hio*2)*2 + dm*3)*2")
    assert Recipe.parse(str(nested)) == nested


@pytest.mark.parametrize("text", ["(hio*3", "hio*3)", "(hio*3)*0", "()*3", "(hio*3)", "(er*1)*9999", "((er*1)*99)*99"])
def test_groups_that_cannot_be_read_or_would_not_end_are_refused(text):
    with pytest.raises(RecipeError, match="The recipe"):
        Recipe.parse(text)


def test_what_works_beside_the_stages_may_follow_them():
    recipe = Recipe.parse("hio*300 ; shrinkwrap( threshold = 0.1, reference=rms ); coherence(every=5);settling")
    assert recipe.shrinkwrap == ShrinkWrap(threshold=0.1, reference="rms")
    assert recipe.coherence == PartialCoherence(every=5)
    assert recipe.settling == Settling()
    assert Recipe.parse("hio; no shrinkwrap", shrinkwrap=ShrinkWrap()).shrinkwrap is None
    assert Recipe.parse("auto; no settling").settling is None
    assert Recipe.parse("hio; shrinkwrap", iterations=50) == Recipe.parse("hio", iterations=50, shrinkwrap=ShrinkWrap())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hio; wrap", r"'wrap' was not understood.*shrinkwrap, coherence, settling, each with no before it"),
        ("hio; no wrap", r"'no wrap' was not understood"),
        ("hio; noshrinkwrap", r"'noshrinkwrap' was not understood"),
        ("hio; no shrinkwrap(threshold=0.1)", "options for what shall not be"),
        ("hio; shrinkwrap(threshold=2)", "threshold: .*less than 1"),
        ("hio; shrinkwrap(threshold)", "OPTION=VALUE"),
        ("hio;", "'' was not understood"),
    ],
)
def test_what_cannot_work_beside_the_stages_is_refused(text, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(text)


@pytest.mark.parametrize(
    "text", ["(" * 2000 + "hio*1" + ")*1" * 2000, "hio*" + "9" * 5000, "(" * 20 + "er*1" + ")*1" * 20]
)
def test_text_that_would_not_end_is_refused_in_words(text):
    with pytest.raises(RecipeError, match="The recipe"):
        Recipe.parse(text)
