"""How words sound: near-misses for a command, homophones, and spellings that change the melody."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Sequence

from pipelines.base import require
from pipelines.voices import espeak

# Common words, those of the Speech Commands data set among them, and many that rhyme with or
# begin like the commands people choose most: yes, no, up, down, left, right, on, off, stop, go.
_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve twenty thirty hundred thousand
bed bird cat dog happy house marvin sheila tree wow backward forward follow learn visual
about above across after again air all alone along always among anger animal answer any apple arm
army around ask autumn away baby back bad bag ball bank bath bean bear beauty because bell below
best big black blood blow blue board boat body bone book both bottle bottom bow box boy branch
bread break brick bridge bright brother brown brush build burn bus busy but butter buy cake call
camera can cap car card carry castle cause chair chalk chance change cheap check cheese chess chest
child choose church circle city class clean clear climb clock close cloth cloud coal coat coffee
cold comb come cook cop copper corn cost cotton cough count country cover cow crop cross crowd crown
cry cup curtain cut dance dark daughter day dead deaf deep desk dice die dinner dirty do doctor
donut door dose double doubt dough dove down draw dream dress drink drive drop drown dry duck dust
each ear early earth east easy edge egg empty end engine enough even evening every eye face fall
family far farm fast father fear feather field fight fill find finger fire fish flag flat flight
flock floor flow flower fly fog food fool foot fork found fox free fresh friend frog from front
fruit full game garden gas gate get gift girl give glass goal goat gold gone good got gown grass
green ground group grow guess gun hair half hall hammer hand hard hat head heart heat heavy help
hen her high hill hint hit hole home hook hop hope horn horse hospital hot hour how hurry ice idea
if in ink inside iron island jelly job join joke judge jump just keep key kick kind king kiss
kitchen knee knife knot lamp land large last late laugh law leaf leap leather leave ledge leg left
lemon less let letter lift light like line lion lip list live lock long look lot loud love low luck
lunch machine make man many map market match may meal meat mess middle might milk mind minute mole
money monkey month moon more morning mother mountain mouse mouth move much music nail name narrow
near neck need nest net never new news nice night nod noise none nor north nose not note now number
nurse nut oak oath odd of oil okay old on open or orange other ought our out oven over owl own pack
page paint pair paper park part pass path pay pen people pepper pet phone picture piece pig pin
place plane plant plate play please plus pocket point poor pop potato pound press price print puff
pull pump pup purple push put queen question quick quiet rain rat read ready red rest rice rich ride
ring rise river road rock roof room root rope rough round row rub rule run sad safe salt same sand
scarf school science sea seat second see seed self sell send sense shadow shake shape sheep
shelf ship shirt shoe shop short shot shout show shut sick side sight sign silver sing sister sit
size skin skirt sky sleep slow small smell smile smoke snake snow so soap soft some son song soon
sound soup south space spade speak spoon spot spring square stamp star start station stay steam step
stick stock stone story storm straight strange street strong stuff sugar suit summer sun sup sweet
swim table tail talk tall taste tea teach team tell tent test than that then there they thick thin
thing think this thought throat throw thumb thunder ticket tie tight time tin tired toe together
tomorrow tongue too tooth top touch tough tower town train true trust turn under uncle until us use
vase vest view village voice wait walk wall want war warm wash watch water wave way weak wear
weather week well went west wet what wheel when where which whistle white who why wide wife wild
wind window wine wing winter wire wise wish with woman wood word work world worm wrong yard year
yell yellow yesterday yet yolk young your yours youth
bless boss cuff dawn doff gloat growl ho hoe huff jaw lawn lefty loft loss moth muff noon noun oft
ouch ounce phony pawn rife ripe rye rite sloth slop stoop strop swap taut theft toss tuft whiff wrap
yak yawn yeast yes yep yeti yo yoga
"""
ENGLISH: tuple[str, ...] = tuple(_WORDS.split())

# Consonants as (place from lips to throat, manner from stop to glide, voiced), each in [0, 1].
_CONSONANTS: dict[str, tuple[float, float, float]] = {
    symbol: (place, manner, voiced)
    for manner, rows in (
        (0.0, "0 pb 0.4 td 0.6 ʈɖ 0.7 cɟ 0.8 kɡ 0.9 qɢ 1 ʔʔ"),
        (0.4, "0 ɸβ 0.1 fv 0.3 θð 0.4 sz 0.5 ʃʒ 0.5 ɕʑ 0.6 ʂʐ 0.7 çʝ 0.8 xɣ 0.9 χʁ 1 ħʕ 1 hɦ"),
        (0.6, "0 mm 0.1 ɱɱ 0.4 nn 0.6 ɳɳ 0.7 ɲɲ 0.8 ŋŋ 0.9 ɴɴ"),
        (0.8, "0.4 ɬl 0.4 ɫɫ 0.4 rr 0.4 ɾɾ 0.4 ɺɺ 0.6 ɭɭ 0.6 ɽɽ 0.7 ʎʎ 0.9 ʀʀ"),
        (1.0, "0.1 ʋʋ 0 ʍw 0.5 ɹɹ 0.6 ɻɻ 0.7 jj 0.7 ɥɥ 0.8 ɰɰ"),
    )
    for place, pair in zip(map(float, rows.split()[::2]), rows.split()[1::2], strict=True)
    for voiced, symbol in zip((0.0, 1.0), pair, strict=True)
} | {symbol: (place, 0.6, 1.0) for place, symbol in ((0.0, "m"), (0.4, "n"), (0.8, "ŋ"))}

# Vowels as (height from open to close, backness from front to back, rounded), each in [0, 1].
_VOWELS: dict[str, tuple[float, float, float]] = {
    symbol: (height, backness, rounded)
    for height, row in (
        (1.0, "i-0-0 y-0-1 ɨ-.5-0 ʉ-.5-1 ɯ-1-0 u-1-1"),
        (0.83, "ɪ-.2-0 ʏ-.2-1 ᵻ-.4-0 ʊ-.8-1"),
        (0.67, "e-0-0 ø-0-1 ɘ-.5-0 ɵ-.5-1 ɤ-1-0 o-1-1"),
        (0.5, "ə-.5-0"),
        (0.33, "ɛ-.1-0 œ-.1-1 ɜ-.5-0 ɞ-.5-1 ʌ-.9-0 ɔ-1-1"),
        (0.17, "æ-.1-0 ɐ-.5-0"),
        (0.0, "a-.2-0 ɶ-.2-1 ɑ-.9-0 ɒ-1-1"),
    )
    for symbol, backness, rounded in (
        (cell.split("-")[0], float(cell.split("-")[1]), float(cell.split("-")[2]))
        for cell in row.split()
    )
}
_WEIGHTS = {"consonant": (0.3, 0.5, 0.2), "vowel": (0.5, 0.35, 0.15)}
_LONGER = 0.8  # what a phoneme more or less costs, where 1 is the most unlike phoneme
_RHOTIC = str.maketrans({"ɚ": "əɹ", "ɝ": "ɜɹ", "g": "ɡ"})


def sounds(words: Sequence[str], language: str = "en-us") -> list[str]:
    """The phonemes of words, one character each, without stress and length.

    Args:
        words: What to say.
        language: One of espeak-ng's languages.

    Returns:
        A string in the International Phonetic Alphabet for each word.
    """
    return [_plain(said) for said in espeak.phonemes(words, language)]


def distance(first: str, second: str) -> float:
    """How unlike two words sound: an edit distance whose costs are features of articulation.

    Args:
        first: Phonemes as `sounds` gives them.
        second: The other word's.

    Returns:
        0 for homophones, about 1 for words that share nothing; divided by the longer length.
    """
    row = [_LONGER * column for column in range(len(second) + 1)]
    for line, ours in enumerate(first, 1):
        above, row = row, [_LONGER * line]
        for column, theirs in enumerate(second, 1):
            exchanged = above[column - 1] + _unlike(ours, theirs)
            row.append(min(exchanged, above[column] + _LONGER, row[-1] + _LONGER))
    return row[-1] / max(len(first), len(second), 1)


def homophones(
    words: Sequence[str], others: Sequence[str], languages: Sequence[str] = ("en-us",)
) -> dict[str, str]:
    """Those of `others` that sound like one of `words` in any of the accents, with that word."""
    found = {}
    for language in languages:
        commands = dict(zip(sounds(words, language), words, strict=True))
        for other, sound in zip(others, sounds(others, language), strict=True):
            if sound in commands:
                found[other] = commands[sound]
    return found


def near_misses(
    words: Sequence[str],
    vocabulary: Sequence[str] = ENGLISH,
    count: int = 60,
    seed: int = 0,
    languages: Sequence[str] = ("en-us",),
) -> list[str]:
    """Words that a listener for `words` must learn to ignore.

    Half of them sound as much as possible like the commands, in equal parts for each command;
    the other half are drawn at random. A homophone of a command is never among them.

    Args:
        words: The commands.
        vocabulary: What to choose from.
        count: How many words to choose; fewer where the vocabulary has no more.
        seed: Draws the other half.
        languages: The accents of espeak-ng in which no homophone is let in; distances are
            measured in the first.

    Returns:
        The words, the near ones first.

    Raises:
        ValueError: If `count` is not positive or nothing in the vocabulary is left to choose.
    """
    require(count > 0, "count", "a positive integer", count)
    same = homophones(words, vocabulary, languages)
    taken = {word.casefold() for word in words}
    rest = [w for w in dict.fromkeys(vocabulary) if w not in same and w.casefold() not in taken]
    require(bool(rest), "vocabulary", "words that sound unlike the commands", list(vocabulary)[:9])
    near = _nearest(words, rest, math.ceil(min(count, len(rest)) / 2), languages[0])
    far = [word for word in rest if word not in set(near)]
    random.Random(f"{seed}/near_misses").shuffle(far)
    return near + far[: count - len(near)]


def spellings(word: str, language: str = "en-us") -> list[str]:
    """Ways to write a word that change its melody and not its sounds: "yes", "yes?", "yes!".

    Those that the language reads as something else, as "no." for "number", are left out. None
    is in capitals, which some engines spell letter by letter.
    """
    ways = [word, f"{word}.", f"{word}!", f"{word}?", f"{word},"]
    said = sounds(ways, language)
    return [way for way, sound in zip(ways, said, strict=True) if sound == said[0]]


def _nearest(
    words: Sequence[str], vocabulary: Sequence[str], count: int, language: str
) -> list[str]:
    """The `count` words nearest to any command, taking turns among the commands."""
    ours, theirs = sounds(words, language), sounds(vocabulary, language)
    ranked = []
    for our in ours:
        unlike = dict(zip(vocabulary, (distance(our, their) for their in theirs), strict=True))
        ranked.append(iter(sorted(vocabulary, key=unlike.__getitem__)))
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        for turn in ranked:
            if len(chosen) < count:
                chosen[next(word for word in turn if word not in chosen)] = None
    return list(chosen)


def _plain(said: Sequence[str]) -> str:
    """Phonemes less stress, length, tone and the marks by which a text changes its language."""
    joined = re.sub(r"\([a-z-]*\)", "", "".join(said)).translate(_RHOTIC)
    decomposed = unicodedata.normalize("NFD", joined)
    return "".join(letter for letter in decomposed if unicodedata.category(letter) == "Ll")


def _unlike(ours: str, theirs: str) -> float:
    """How unlike two phonemes are, from 0 to 1."""
    if ours == theirs:
        return 0.0
    for table, kind in ((_CONSONANTS, "consonant"), (_VOWELS, "vowel")):
        if ours in table and theirs in table:
            features = zip(_WEIGHTS[kind], table[ours], table[theirs], strict=True)
            return 0.15 + 0.85 * sum(weight * abs(a - b) for weight, a, b in features)
    return 1.0
