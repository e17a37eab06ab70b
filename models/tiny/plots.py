"""What the stories of models/tiny/corpus.py are made of: names, homes, openings, plots and endings.

A plot is its objects, its places and a tuple of beats; a beat is a tuple of alternative sentences, one of
which is drawn, the first most often. Slots are filled with str.format: `{a}` is the hero, `{b}` the friend,
each with `.kind`, `.mood` and the pronouns `.he`, `.him`, `.his`; `{home}`, `{thing}` and `{place}` are the
story's. A sentence may begin with a slot: the generator sets the capital letter, and "an" before a vowel.
"""

from __future__ import annotations

from dataclasses import dataclass

Beat = tuple[str, ...]


@dataclass(frozen=True)
class Plot:
    """One plot: the objects and places that it may be about and its beats, in order."""

    name: str
    things: tuple[str, ...]
    places: tuple[str, ...]
    beats: tuple[Beat, ...]


NAMES = ("Ada", "Pip", "Dot", "Ohm", "Lily", "Max", "Ruby", "Tom", "Mia", "Ben", "Zoe", "Finn")
GIRLS = frozenset({"Ada", "Dot", "Lily", "Ruby", "Mia", "Zoe"})
KINDS = ("robot", "mouse", "fox", "cat", "rabbit", "bear", "owl", "duck", "frog", "hen")
MOODS = ("little", "small", "kind", "brave", "shy", "happy", "curious", "clever", "quiet", "gentle")
HOMES = (
    "in a workshop by the sea",
    "in a garden behind the mill",
    "in a little house on a hill",
    "at the edge of the forest",
    "in a town made of sand and silicon",
    "in a shed full of tools",
    "near a wide river",
)

OPENINGS: Beat = (
    "Once upon a time, there was a {a.mood} {a.kind} named {a}. {a.he} lived {home}.",
    "Once upon a time, a {a.mood} {a.kind} named {a} lived {home}.",
    "Once upon a time, {home}, there lived a {a.mood} {a.kind} named {a}.",
    "Once upon a time, {a} the {a.kind} lived {home}. {a.he} was very {a.mood}.",
    "There once was a {a.kind} named {a} who lived {home}.",
    "{a} was a {a.mood} {a.kind} who lived {home}.",
)

ENDINGS: Beat = (
    "From that day on, {a} and {b} were best friends.",
    "{a} went home with a warm heart.",
    "And so the day ended, and they were both very happy.",
    "{a} learned that a good friend makes work easy.",
    "That night, {a} looked at the stars and smiled.",
    "They walked home together in the evening sun.",
    "{a} never forgot that day.",
)

FRIEND_COMES: Beat = (
    "Then {b} the {b.kind} came by.",
    "Just then, a {b.mood} {b.kind} named {b} came along.",
    "{b}, a {b.kind} from next door, saw {a.him} and stopped.",
    "Soon {a.his} friend {b} the {b.kind} came to see {a.him}.",
)

PLOTS = (
    Plot(
        name="chip",
        things=("story", "song", "map", "poem", "secret"),
        places=("in the sand by the water", "in a dusty drawer", "on the floor", "in an old machine"),
        beats=(
            (
                "One day, {a} found a small black chip {place}.",
                "{place}, {a} saw a tiny chip that shone like the moon.",
            ),
            ('"What does it do?" {a.he} asked.', "{a.he} cleaned it and looked at it for a long time."),
            FRIEND_COMES,
            (
                '"There is a {thing} in it," said {b}. "Every word is etched in metal."',
                '"Someone wrote a {thing} in it," said {b}. "It can not fade."',
            ),
            (
                "They gave the chip some power, and it woke up.",
                "{a} put in a battery, and a green light came on.",
            ),
            (
                "The chip told them its {thing}, one word at a time.",
                'The chip said, "Once upon a time," and told them its {thing}.',
            ),
            (
                "{b} wrote it down, and {a} checked each word.",
                "They heard it two times, and every word was the same.",
            ),
        ),
    ),
    Plot(
        name="lost",
        things=("red ball", "tiny gear", "copper key", "blue hat", "brass bell", "silver whistle"),
        places=("under the bench", "behind the shelf", "in the tall grass", "in an old box", "near the door"),
        beats=(
            (
                "One day, {a} could not find {a.his} {thing}.",
                "One morning, {a} lost {a.his} {thing}.",
                "{a} had a {thing}, but one day it was gone.",
            ),
            (
                "{a.he} looked high and low, but it was not there.",
                "{a.he} looked in every room and felt sad.",
                "{a.he} sat down and began to cry.",
            ),
            FRIEND_COMES,
            (
                '"What is wrong?" asked {b}. "I lost my {thing}," said {a}.',
                '"Why are you sad?" asked {b}. "My {thing} is gone," said {a}.',
                '"Can you help me find my {thing}?" asked {a}. "Yes, I can," said {b}.',
            ),
            (
                "They looked together, and {b} found it {place}.",
                "{b} looked {place}, and there it was!",
                "Then they saw something shine {place}. It was the {thing}!",
            ),
            ('"Thank you!" said {a}, and {a.he} gave {b} a big hug.', "{a} was so glad that {a.he} danced."),
        ),
    ),
    Plot(
        name="repair",
        things=("clock", "lamp", "radio", "music box", "toy train", "water pump"),
        places=("a loose wire", "a grain of sand", "a bent pin", "a broken spring", "a drop of rain"),
        beats=(
            (
                "One day, the old {thing} stopped working.",
                "One morning, {a} heard that the {thing} made no sound.",
                "{a} had a {thing} that did not work any more.",
            ),
            (
                "{a.he} wanted to fix it, but {a.he} did not know how.",
                "{a.he} shook it and tapped it, but nothing happened.",
                '"I will fix it," said {a}, but it was too hard for {a.him}.',
            ),
            FRIEND_COMES,
            (
                '"Let us look inside," said {b}.',
                '"We must test each part," said {b}.',
                '"Do not guess," said {b}. "Look first."',
            ),
            (
                "They opened the {thing} and found {place} inside.",
                "Deep in the {thing}, {a} saw {place}.",
                "They checked each part, and the last one had {place}.",
            ),
            (
                "{a} fixed it with care, and the {thing} worked again.",
                "{b} held the light while {a} fixed it. Soon the {thing} was like new.",
            ),
            ('"We did it!" they said.', '"Now it works!" said {b}.', "{a} was proud of {a.his} work."),
        ),
    ),
    Plot(
        name="garden",
        things=("bean", "rose", "pumpkin", "sunflower", "apple tree", "berry bush"),
        places=("by the wall", "near the pond", "in a clay pot", "under the window", "beside the path"),
        beats=(
            (
                "One spring day, {a} found a tiny seed.",
                "One day, {a} got a seed from {a.his} grandmother.",
                "{a} loved to work in the garden.",
            ),
            ("{a.he} planted a {thing} {place}.", "{a.he} made a small hole {place} and planted a {thing}."),
            (
                "Every day {a.he} gave it water, but nothing came up.",
                "{a.he} waited and waited, but it did not grow.",
                "The ground stayed bare, and {a} was worried.",
            ),
            FRIEND_COMES,
            (
                '"Good things take time," said {b}.',
                '"It needs more sun," said {b}. "Let us wait."',
                '"Do not give up," said {b} to {a.him}.',
            ),
            (
                "After some days of rain and sun, a green leaf came up.",
                "One week later, the {thing} began to grow.",
            ),
            (
                "It grew tall, and {a} shared it with {b}.",
                "Soon all the bees came to see the {thing}.",
            ),
        ),
    ),
    Plot(
        name="gift",
        things=("paper kite", "wooden boat", "warm scarf", "little lamp", "tin drum", "clay cup"),
        places=("with blue paint", "with golden thread", "with a red ribbon", "with tiny stars"),
        beats=(
            (
                "{a} had a friend, {b} the {b.kind}. It was {b.his} birthday.",
                "One day, {a} wanted to make a gift for {b} the {b.kind}.",
                "It was the birthday of {b}, a {b.mood} {b.kind}, and {a} had no gift.",
            ),
            (
                "{a.he} worked all day and made a {thing}.",
                "So {a} took {a.his} tools and began to make a {thing}.",
            ),
            ("{a.he} made it pretty {place}.", "When it was done, {a.he} finished it {place}."),
            (
                'But {a} was worried. "What if it is too small?" {a.he} said.',
                "It was not perfect, and one side was a bit bent.",
                "{a.he} put it in a box and ran to the house of {b}.",
            ),
            (
                '{b} opened the box. "A {thing}!" {b.he} said.',
                "When {b} saw the {thing}, {b.his} eyes were bright.",
            ),
            (
                '"I love it, because you made it," said {b}.',
                '"This is the best gift of all," said {b}.',
                '"Thank you, {a}," said {b}. "I will keep it for ever."',
            ),
        ),
    ),
    Plot(
        name="storm",
        things=("bridge", "roof", "fence", "boat", "old wall"),
        places=("in the barn", "under a big tree", "in the workshop", "in a small cave"),
        beats=(
            (
                "One night, a big storm came from the north.",
                "One day, the sky went dark and it began to rain.",
                "One evening, the wind was loud and the rain was cold.",
            ),
            ("The wind broke the {thing}.", "The water rose, and the {thing} began to shake."),
            ("{a} ran to hide {place}.", "{a.he} was afraid, so {a.he} hid {place}."),
            (
                "There {a.he} met {b}, a {b.mood} {b.kind}, who was cold and wet.",
                "{b} the {b.kind} was there too, and {b.he} was afraid.",
            ),
            (
                '"Come and sit with me," said {a}. "The storm will pass."',
                '"Do not be afraid," said {a}. "We are safe here."',
            ),
            ("They told stories until the rain stopped.", "{a} sang a soft song until {b} fell asleep."),
            (
                "In the morning, they fixed the {thing} together.",
                "When the sun came out, they made the {thing} strong again.",
            ),
        ),
    ),
    Plot(
        name="dark",
        things=("lamp", "candle", "tiny light", "lantern"),
        places=("the cellar", "the attic", "the tunnel", "the dark wood"),
        beats=(
            (
                "{a} was afraid of the dark.",
                "{a} did not like the dark.",
                "One night, {a} had to go into {place}.",
            ),
            (
                "{a.he} heard a strange sound in {place}.",
                "Something moved in {place}, and {a} wanted to run.",
            ),
            (
                "{a.he} took a {thing} and went in, step by step.",
                "{a.he} held a {thing} and was very quiet.",
            ),
            ('"Who is there?" asked {a}.', '"Hello?" said {a} in a small voice.'),
            (
                'It was only {b} the {b.kind}! "I lost my way," said {b}.',
                '"It is only me, {b} the {b.kind}," said a voice.',
            ),
            (
                "{a} laughed, and {a.his} {thing} lit the way out for both of them.",
                "{a} took {b} by the hand, and the {thing} showed them the way.",
            ),
            (
                "Now {a} is not afraid of the dark.",
                '"The dark is not so bad with a friend," said {a}.',
            ),
        ),
    ),
    Plot(
        name="count",
        things=("apples", "nuts", "stars", "shells", "screws", "eggs"),
        places=("on the table", "in the yard", "on the step", "by the gate"),
        beats=(
            (
                "One day, {a} wanted to count all the {thing} {place}.",
                "{a} loved numbers. One day, {a.he} counted the {thing} {place}.",
            ),
            ('"One, two, three, four," {a.he} said.', '"Two, four, six, eight," {a.he} said.'),
            FRIEND_COMES,
            (
                "{b} counted too, but {b.his} number was not the same.",
                '"I think you missed one," said {b}.',
            ),
            (
                '"Let us check them one by one," said {a}.',
                '"Then we must both count again," said {a}.',
            ),
            (
                "So they put the {thing} in rows and counted each row.",
                "They counted slowly, and they wrote each number down.",
            ),
            (
                "This time the two numbers were the same, bit for bit.",
                "At last they found the one that was missed.",
            ),
        ),
    ),
    Plot(
        name="race",
        things=("cake", "golden cup", "shiny medal", "bag of nuts"),
        places=("to the old oak tree", "around the lake", "to the top of the hill", "to the mill and back"),
        beats=(
            (
                "One day, there was a race {place}. The prize was a {thing}.",
                "{a} wanted to win a {thing} in the big race {place}.",
            ),
            (
                "{b} the {b.kind} was very fast, and {a} was slow.",
                "{b}, a {b.mood} {b.kind}, wanted to win it too.",
            ),
            ('"Ready, set, go!" said the owl.', "The bell rang, and they both began to run."),
            (
                "Then {b} fell and hurt {b.his} foot.",
                "Half way there, {b} fell into the mud.",
            ),
            (
                "{a} could win now, but {a.he} stopped to help.",
                '"Take my hand," said {a}, and {a.he} helped {b.him} up.',
            ),
            (
                "They crossed the line at the same time.",
                "They walked to the end together.",
            ),
            (
                "So they shared the {thing}.",
                '"Half for you and half for me," said {a}.',
            ),
        ),
    ),
    Plot(
        name="share",
        things=("pear", "pie", "loaf of bread", "plum cake", "melon"),
        places=("on the hill", "by the river", "in the park", "in the kitchen"),
        beats=(
            (
                "One day, {a} had a big {thing}. {a.he} sat down {place} to eat it.",
                "One day, {a} made a {thing} and took it to eat {place}.",
            ),
            (
                "It smelled so good!",
                "{a} was very hungry.",
                "It was the last one.",
            ),
            FRIEND_COMES,
            (
                '"I have had no food all day," said {b}.',
                '"May I have some, please?" asked {b}.',
                "{b} looked at the {thing} but did not say a word.",
            ),
            ("{a} thought for a while.", "{a} looked at {b} and felt sorry for {b.him}."),
            (
                "Then {a.he} cut the {thing} in two and gave {b} one half.",
                '"There is some for both of us," said {a}, and {a.he} gave half to {b.him}.',
            ),
            (
                "It tasted even better that way.",
                '"You are kind," said {b}. "Next time I will share with you."',
            ),
        ),
    ),
)
