"""The words of the grammar, as one tuple per role.

Phrases are separated by semicolons or line ends. Verbs are in the base form, and `third_person`
inflects them.
"""

from __future__ import annotations


def _phrases(block: str) -> tuple[str, ...]:
    return tuple(p.strip() for p in block.replace("\n", ";").split(";") if p.strip())


def third_person(verb_phrase: str) -> str:
    """Inflect the first word of ``verb_phrase``: 'carry water' becomes 'carries water'."""
    verb, _, rest = verb_phrase.partition(" ")
    if verb.endswith("y") and verb[-2] not in "aeiou":
        verb = verb[:-1] + "ies"
    elif verb.endswith(("s", "sh", "ch", "x", "z")):
        verb += "es"
    else:
        verb += "s"
    return f"{verb} {rest}" if rest else verb


# Subjects without an article, from the sciences and the humanities.
CONCEPTS = _phrases("""
photosynthesis; respiration; digestion; fermentation; evaporation; condensation; precipitation
erosion; weathering; sedimentation; gravity; magnetism; friction; inertia; momentum; electricity
conduction; convection; radiation; refraction; reflection; diffraction; diffusion; osmosis
combustion; oxidation; corrosion; crystallization; distillation; filtration; evolution; mutation
heredity; adaptation; migration; hibernation; pollination; germination; symbiosis; metabolism
immunity; vaccination; infection; inflammation; inflation; deflation; taxation; trade; supply
demand; competition; scarcity; debt; credit; banking; insurance; democracy; monarchy; federalism
feudalism; colonialism; urbanization; irrigation; agriculture; metallurgy; geometry; algebra
arithmetic; calculus; probability; statistics; logic; recursion; induction; encryption; compression
sorting; memory; attention; perception; language; grammar; rhetoric; poetry; music; harmony; rhythm
sculpture; architecture; printing; paper; glass; steel; concrete; plastic; rubber; cotton; silk
oxygen; hydrogen; nitrogen; carbon; sulfur; iron; copper; salt; sugar; starch; protein; cellulose
chlorophyll; hemoglobin; insulin; caffeine; ozone; methane; ammonia; sunlight; lightning; thunder
snow; fog; wind; rain; the heart; the liver; the brain; the skin; the stomach; the kidney; the eye
the ear; the atom; the nucleus; the cell; the gene; the moon; the sun; the ocean; the desert
the glacier; the volcano; the river; the tide; the compass; the telescope; the microscope
the lever; the pulley; the wheel; the clock; the battery; the engine; the turbine; the transistor
the laser; the radio; the plough; the loom; the calendar; the alphabet; acid rain
natural selection; surface tension; static electricity; nuclear fusion; blood pressure
plate tectonics; the water cycle; the carbon cycle; the food chain; the nervous system
the immune system; the solar system; the scientific method; the printing press; the steam engine
machine learning
""")

# Subjects of the paragraphs about living things.
ORGANISMS = _phrases("""
the badger; the beaver; the otter; the wolf; the lynx; the hare; the hedgehog; the squirrel
the bat; the mole; the eagle; the owl; the heron; the swallow; the raven; the sparrow; the penguin
the stork; the falcon; the crane; the salmon; the trout; the eel; the shark; the octopus; the squid
the crab; the lobster; the oyster; the coral; the frog; the toad; the lizard; the turtle; the viper
the gecko; the ant; the bee; the wasp; the beetle; the moth; the spider; the scorpion; the snail
the worm; the dolphin; the whale; the seal; the walrus; the elephant; the camel; the giraffe
the zebra; the antelope; the kangaroo; the koala; the panda; the sloth; the tapir
""")

ADJECTIVES = _phrases("""
simple; complex; natural; slow; rapid; common; rare; important; powerful; small; large; ancient
modern; early; basic; central; chemical; physical; biological; economic; social; mechanical
electrical; visible; hidden; gradual; sudden; stable; warm; cold; dry; wet; thin; thick; dark
bright; heavy; light; deep; shallow; local; global; useful; dangerous; delicate; steady; continuous
ordinary; practical; formal; public
""")

KINDS = _phrases("""
process; reaction; force; system; structure; method; principle; theory; law; material; substance
device; machine; instrument; field; branch of science; form of energy; type of cell
stage of growth; pattern; cycle; mechanism; technique; property; quantity; measure; relationship
resource; organ; tissue; institution; practice; technology; model; concept; skill; tradition
""")

ANIMALS = _phrases("""
mammal; bird; fish; insect; reptile; predator; herbivore; scavenger; animal; hunter; swimmer
climber; creature; species; amphibian; crustacean
""")

# Nouns without an article, for things that are carried, stored or measured.
STUFF = _phrases("""
water; heat; energy; oxygen; light; sound; food; blood; air; salt; sugar; carbon; nitrogen
information; money; goods; metal; iron; copper; sand; soil; stone; wood; waste; pressure; signals
nutrients; minerals; particles; electrons; atoms; molecules; cells; seeds; crops; plants; animals
bacteria; gases; liquids; crystals; waves; images; numbers; messages; prices; wages; taxes; ideas
laws; records; tools; fuel; steam; ice; dust; pollen; proteins; hormones; fibers; words; symbols
errors; patterns
""")

VERBS = _phrases("""
carry; store; release; absorb; produce; convert; measure; protect; divide; collect; remove
transport; filter; mix; separate; reduce; increase; control; support; transform; attract; reflect
spread; compare; combine; exchange; repair; replace; supply; shape; detect; record; regulate
balance; direct; generate; dissolve; preserve; recycle; move; heat; cool; organize; explain
predict; limit; connect; renew
""")

PLACES = _phrases("""
in the soil; in the blood; in the ocean; in the cells; in the leaves; in the air; in warm regions
in cold water; in large cities; in small villages; in the market; in the brain; in the lungs
in the roots; in the upper atmosphere; between two regions; between neighbors; across a membrane
across the border; across long distances; through narrow tubes; through the body
through solid rock; through a wire; near the surface; near the coast; under high pressure
under the ground; at low temperatures; at night; during the day; during winter; over many years
over a short time; from one place to another; from the surface; inside the nucleus
inside a closed container; around the equator; along the river; on the sea floor; on the farm
without direct contact; with little effort; with great precision
""")

THINGS = _phrases("""
surface; temperature; pressure; population; price; water level; current; layer; mixture; metal
magnet; rock; crust; membrane; muscle; leaf; root; cell wall; gas; liquid; crystal; wave; signal
market; climate; soil; forest; cloud; air mass; river bed; coast; ice sheet; orbit; charge; field
economy; army; harvest; demand; supply
""")

# Intransitive verbs in the third person.
CHANGES = _phrases("""
rises; falls; expands; contracts; melts; freezes; cools; breaks apart; moves away; grows quickly
shrinks; becomes unstable; becomes stronger; loses energy; gains energy; changes direction
reaches its limit; dries out; is heated; is exposed to light; is placed under stress
comes into contact with water; begins to rotate; slows down; speeds up; becomes crowded
runs out of oxygen; collides with another; is cut off; splits in two
""")

GROUPS = _phrases("""
farmers; engineers; doctors; scientists; students; teachers; merchants; sailors; builders
governments; cities; families; workers; nurses; chemists; historians; geologists; economists
programmers; designers; plants; animals; communities; companies; researchers; citizens; pilots
miners; artists; musicians
""")

PARTS = _phrases("""
a core; a shell; a membrane; a nucleus; a frame; a valve; a pump; a lens; a mirror; a coil
a spring; a chamber; a filter; a tube; a root; a stem; a crust; a mantle; a surface layer
a set of rules; a central office; a council; a court; an input; an output; a memory; a clock
a list of symbols; a thin film; a network of fibers; an outer wall; a supply of fuel
a pair of electrodes; a protein chain; a handle; a blade; a base; a cover
""")

STEPS = _phrases("""
heat the sample; weigh the material; clean the surface; draw a diagram; write down the question
collect the data; add cold water; mix the powder; cut the stem; dig a shallow trench
sort the values; count the cells; mark the starting point; divide the group; record the result
remove the cover; cool the mixture; press the fibers; check each step; compare the results
repeat the measurement; dry the leaves; filter the solution; seal the container; plot the points
choose a sample; test the prediction; close the circuit; sharpen the blade; soak the seeds
boil the liquid; label the parts; adjust the lens; remove the waste; let it rest overnight
""")

HABITATS = _phrases("""
in dense forests; in open grassland; in cold rivers; in shallow lakes; in dry deserts
in tropical rain forests; on rocky coasts; on high mountains; on coral reefs; in deep water
near slow streams; in wet meadows; under fallen leaves; in underground tunnels; in old barns
along sandy beaches; in polar seas; on small islands; in city parks; among tall reeds
""")

FOODS = _phrases("""
insects; small fish; seeds and berries; grass and leaves; worms; fallen fruit; eggs; nectar
roots and bark; shellfish; mice; dead wood; algae; frogs; plankton; young shoots; nuts; snails
carrion; other birds
""")

PERSONS = _phrases("""
Anna Keller; Thomas Reed; Maria Rossi; James Holt; Clara Novak; Peter Lind; Ruth Adler
Samuel Okoro; Elena Petrova; Hugo Marsh; Ines Duarte; Karl Weber; Leila Hassan; Oscar Berg
Nora Quinn; Paul Fischer; Rosa Mendez; Simon Clarke; Tara Singh; Victor Lang; Wen Zhao; Yuki Tanaka
Amos Grant; Beth Carver
""")

# ------------------------------------------------------------------------------
# Additional words for the sentences of `training.prose`.

PLURALS = _phrases("""
volcanoes; bridges; rivers; mountains; vaccines; enzymes; antibiotics; stars; planets; comets
galaxies; mammals; birds; insects; fungi; viruses; forests; islands; castles; ships; trains; roads
canals; markets; banks; taxes; maps; novels; poems; languages; dialects; computers; robots
satellites; batteries; magnets; lenses; mirrors; fossils; glaciers; earthquakes; hurricanes
tsunamis; deserts; wetlands; cells; genes; chromosomes; neurons; muscles; bones; vitamins; hormones
elections; treaties; empires; colonies; guilds; monasteries; universities; museums
""")

NOUNS = _phrases("""
army; author; balance; body; border; branch; building; capital; center; century; change; child
church; city; class; coast; color; company; condition; conflict; country; court; crisis; culture
custom; day; death; decade; degree; development; difference; direction; discovery; disease
distance; earth; edge; effect; element; empire; end; environment; equation; event; example
experiment; factor; factory; family; farm; father; feature; figure; fire; flow; form; freedom
function; future; garden; generation; government; group; growth; half; hand; head; health; history
home; hour; house; hundred; idea; image; importance; independence; industry; influence; island; job
journey; kingdom; knowledge; labor; lake; land; law; leader; length; level; library; life; limit
line; list; loss; machine; majority; man; map; market; mass; matter; meaning; member; method
middle; mind; minute; mistake; month; mother; mountain; movement; nation; nature; network; night
north; number; object; office; opinion; order; origin; part; party; past; path; peace; people
percent; period; person; place; plan; planet; point; policy; position; power; practice; present
president; price; problem; product; project; proof; quality; question; range; rate; reason; region
religion; research; rest; result; revolution; right; rise; role; room; route; rule; scale; school
science; sea; season; sequence; series; set; shape; ship; side; sign; size; society; source; south
space; speed; spring; stage; star; state; step; story; street; structure; study; summer; system
table; task; team; temple; term; test; text; theory; thing; time; tool; town; tree; type; unit
university; use; value; variety; version; view; village; voice; wall; war; wave; way; week; weight
west; woman; word; work; worker; world; writer; year
""")

QUALITIES = _phrases("""
able; active; actual; average; best; better; big; certain; chief; civil; clear; close; cultural
different; difficult; direct; double; eastern; easy; empty; entire; equal; exact; famous; final
first; foreign; free; full; general; good; great; green; half; hard; high; historical; human
independent; industrial; inner; internal; key; known; last; late; leading; legal; likely; limited
living; long; low; main; major; many; medical; military; most; national; necessary; new; next
northern; old; only; open; original; other; outer; own; personal; political; poor; popular
possible; primary; private; proper; real; recent; red; religious; rich; royal; rural; same; second
serious; several; short; similar; single; solid; southern; special; specific; strong; successful
such; third; top; total; traditional; true; typical; upper; urban; western; white; whole; wide
wild; young
""")

# Regular verbs, in the form that is both past tense and participle.
PAST_VERBS = _phrases("""
accepted; added; allowed; applied; arranged; attacked; believed; called; carried; caused; changed
collected; compared; considered; covered; crossed; defended; demanded; described; designed
destroyed; developed; discovered; discussed; divided; encouraged; established; examined; expanded
explained; followed; formed; governed; helped; ignored; improved; included; increased; influenced
introduced; invented; joined; limited; linked; marked; measured; moved; named; needed; noticed
observed; offered; opened; ordered; painted; passed; performed; planned; played; powered; produced
promised; protected; published; pushed; raised; reached; received; recorded; reduced; refused
related; released; removed; replaced; represented; required; returned; revealed; ruled; separated
served; shaped; shared; showed; signed; solved; started; stopped; studied; suggested; supported
surrounded; transformed; treated; turned; united; used; visited; wanted; watched; worked
""")

PREPOSITIONS = _phrases("""
of; of; of; in; in; on; to; for; with; from; by; at; into; through; during; between; among; over
under; against; across; around; without; within; toward; near; beyond; after; before; along
""")

CONNECTIVES = _phrases("""
However,; In addition,; For instance,; Moreover,; Later,; At first,; By the end,; During this time,
Therefore,; Meanwhile,; In general,; As a rule,; After that,; Over time,; At the same time,
In many places,; Soon
""")
