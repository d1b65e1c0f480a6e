"""Wordings of questions for each relation, and of the sentences that answer them.

{n} is the entity's name, {q} an indirect question, {v} the fact's value, {a} the value with its indefinite article.
"""

# For each relation: direct questions, and indirect questions that are put into a carrier. The last of each list is held
# out of training: it occurs on no page and in no training conversation, but each of its words occurs on some page.
QUESTIONS: dict[str, tuple[list[str], list[str]]] = {
    "birthplace": (
        [
            "Where was {n} born?",
            "In which town was {n} born?",
            "What is the birthplace of {n}?",
            "What is the home town of {n}?",
            "From which town is {n}?",
            "Name the birthplace of {n}.",
            "{n} was born where?",
            "Which town does {n} come from?",
        ],
        ["where {n} was born", "in which town {n} was born", "the birthplace of {n}", "what town {n} is a native of"],
    ),
    "profession": (
        [
            "What does {n} do for a living?",
            "What is the profession of {n}?",
            "What work does {n} do?",
            "What is {n} by trade?",
            "Which trade did {n} learn?",
            "Name the profession of {n}.",
            "{n} works as what?",
            "How does {n} earn a living?",
        ],
        ["what {n} does for a living", "the profession of {n}", "what work {n} does", "what {n} earns a living as"],
    ),
    "instrument": (
        [
            "Which instrument does {n} play?",
            "What instrument does {n} play?",
            "What does {n} play in the evening?",
            "What is the instrument of {n}?",
            "Name the instrument of {n}.",
            "{n} plays what?",
            "What can one hear {n} play?",
            "On what instrument does {n} practise?",
        ],
        ["which instrument {n} plays", "the instrument of {n}", "what {n} plays", "what instrument {n} has learned"],
    ),
    "born": (
        [
            "In which year was {n} born?",
            "When was {n} born?",
            "What is the year of birth of {n}?",
            "What year was {n} born in?",
            "Name the year of birth of {n}.",
            "{n} was born when?",
            "What year saw the birth of {n}?",
            "In what year did {n} come into the world?",
        ],
        [
            "when {n} was born",
            "the year of birth of {n}",
            "in which year {n} was born",
            "the year in which {n} was born",
        ],
    ),
    "region": (
        [
            "In which region is {n}?",
            "Where does {n} lie?",
            "What is the region around {n}?",
            "To which region does {n} belong?",
            "Name the region of {n}.",
            "{n} lies where?",
            "In what part of the country is {n}?",
            "What region is {n} part of?",
        ],
        ["in which region {n} lies", "the region of {n}", "where {n} lies", "what region one finds {n} in"],
    ),
    "river": (
        [
            "Which river flows through {n}?",
            "On which river does {n} stand?",
            "What is the river of {n}?",
            "What river is {n} on?",
            "Name the river of {n}.",
            "{n} lies on which river?",
            "What river crosses {n}?",
            "What is the name of the river in {n}?",
        ],
        [
            "which river flows through {n}",
            "the river of {n}",
            "on which river {n} stands",
            "what river the houses of {n} line",
        ],
    ),
    "product": (
        [
            "What is {n} known for?",
            "What does the town of {n} make?",
            "What does one buy in {n}?",
            "What do people come to {n} for?",
            "Name the product of {n}.",
            "{n} is known for what?",
            "What has {n} sold for centuries?",
            "For which goods is {n} known?",
        ],
        ["what {n} is known for", "what the town of {n} makes", "what one buys in {n}", "what the shops of {n} offer"],
    ),
    "founded": (
        [
            "When was {n} founded?",
            "In which year was {n} founded?",
            "What is the founding year of {n}?",
            "What year was {n} founded in?",
            "Name the founding year of {n}.",
            "{n} was founded when?",
            "Since what year has {n} been a town?",
            "In what year were the first houses of {n} built?",
        ],
        [
            "when {n} was founded",
            "the founding year of {n}",
            "in which year {n} was founded",
            "what year the town of {n} goes back to",
        ],
    ),
    "makes": (
        [
            "What does {n} make?",
            "What does the company {n} sell?",
            "What are the goods of {n}?",
            "What do the workers at {n} make?",
            "Name the goods of {n}.",
            "{n} makes what?",
            "What do people buy from {n}?",
            "What is the company {n} a maker of?",
        ],
        ["what {n} makes", "what the company {n} sells", "what goods {n} makes", "what one can buy from {n}"],
    ),
    "based": (
        [
            "Where is {n} based?",
            "In which town is the company {n}?",
            "Where does {n} have its seat?",
            "Where can {n} be found?",
            "Name the town of {n}.",
            "{n} is based where?",
            "In what town does {n} have its workshop?",
            "What town is home to {n}?",
        ],
        ["where {n} is based", "in which town {n} is", "the seat of {n}", "where the workshop of {n} stands"],
    ),
    "opened": (
        [
            "When did {n} open?",
            "In which year did {n} open?",
            "When was {n} started?",
            "What year did {n} open in?",
            "Name the opening year of {n}.",
            "{n} opened when?",
            "Since what year has {n} been open?",
            "From what year does the company {n} date?",
        ],
        ["when {n} opened", "in which year {n} opened", "when {n} was started", "the year of the opening of {n}"],
    ),
    "author": (
        [
            "Who wrote {n}?",
            "Who is the author of {n}?",
            "By whom is {n}?",
            "Whose book is {n}?",
            "Name the author of {n}.",
            "{n} was written by whom?",
            "What is the name of the author of {n}?",
            "By whom was {n} written?",
        ],
        ["who wrote {n}", "the author of {n}", "who the author of {n} is", "whose name is on the cover of {n}"],
    ),
    "subject": (
        [
            "What is {n} about?",
            "What is the subject of {n}?",
            "What does {n} tell of?",
            "What does one read about in {n}?",
            "Name the subject of {n}.",
            "{n} is about what?",
            "What can one learn from {n}?",
            "What is the theme of {n}?",
        ],
        ["what {n} is about", "the subject of {n}", "what {n} tells of", "what readers of {n} learn about"],
    ),
    "published": (
        [
            "When was {n} published?",
            "In which year did {n} come out?",
            "When did {n} appear?",
            "What year was {n} published in?",
            "Name the year of {n}.",
            "{n} came out when?",
            "What year is {n} from?",
            "In what year did the first edition of {n} come out?",
        ],
        [
            "when {n} was published",
            "in which year {n} came out",
            "when {n} appeared",
            "of what year the first edition of {n} is",
        ],
    ),
}

# Further questions, of which none is held out. A model that has met a relation in only three indirect questions
# understands a fourth only by chance.
FURTHER_QUESTIONS: dict[str, tuple[list[str], list[str]]] = {
    "birthplace": (
        ["Where is {n} from?", "What town was {n} born in?"],
        [
            "from which town {n} is",
            "the home town of {n}",
            "what town {n} was born in",
            "where {n} is from",
            "which town {n} calls home",
        ],
    ),
    "profession": (
        ["What is the trade of {n}?", "What job does {n} have?"],
        [
            "what {n} is by trade",
            "which trade {n} learned",
            "what {n} works as",
            "what job {n} has",
            "how {n} makes money",
        ],
    ),
    "instrument": (
        ["Which instrument is played by {n}?", "Which instrument has {n} at home?"],
        [
            "what instrument {n} plays",
            "what one can hear {n} play",
            "which instrument {n} chose",
            "what {n} plays in the evening",
            "which instrument {n} has at home",
        ],
    ),
    "born": (
        ["What is the birth year of {n}?", "From what year is {n}?"],
        [
            "what year {n} was born in",
            "since what year {n} is alive",
            "what year saw the birth of {n}",
            "the birth year of {n}",
            "from what year {n} is",
        ],
    ),
    "region": (
        ["Where in the country is {n}?", "Which region has {n} in it?"],
        [
            "what the region around {n} is",
            "to which region {n} belongs",
            "what region {n} lies in",
            "where in the country {n} lies",
            "which region has {n} in it",
        ],
    ),
    "river": (
        ["Which river runs through {n}?", "By which river is {n}?"],
        [
            "what river {n} is on",
            "what river crosses {n}",
            "which river one sees in {n}",
            "which river runs through {n}",
            "by what river {n} lies",
        ],
    ),
    "product": (
        ["What made {n} famous?", "What is made in {n}?"],
        [
            "what {n} has sold for centuries",
            "what people come to {n} for",
            "what they make in {n}",
            "what made {n} famous",
            "what the markets of {n} sell",
        ],
    ),
    "founded": (
        ["What year did {n} become a town?", "From what year is the town of {n}?"],
        [
            "what year {n} was founded in",
            "since what year {n} has been a town",
            "which year {n} was founded in",
            "what year {n} became a town",
            "from what year the town of {n} is",
        ],
    ),
    "makes": (
        ["What is produced by {n}?", "Which goods bear the name of {n}?"],
        [
            "what people buy from {n}",
            "what the workers at {n} make",
            "what {n} sells",
            "what is produced by {n}",
            "which goods bear the name of {n}",
        ],
    ),
    "based": (
        ["What town is {n} in?", "Where does the company {n} work?"],
        [
            "where {n} has its seat",
            "where {n} can be found",
            "what town {n} is in",
            "where the company {n} works",
            "in what town one can visit {n}",
        ],
    ),
    "opened": (
        ["When did the company {n} begin?", "What was the first year of {n}?"],
        [
            "what year {n} opened in",
            "since what year {n} has been open",
            "which year {n} was started in",
            "when the company {n} began",
            "what the first year of {n} was",
        ],
    ),
    "author": (
        ["Who is the writer of {n}?", "Whose work is {n}?"],
        [
            "whose book {n} is",
            "by whom {n} is",
            "what author wrote {n}",
            "who the writer of {n} is",
            "from whose pen {n} is",
        ],
    ),
    "subject": (
        ["What does the book {n} deal with?", "What do the pages of {n} tell of?"],
        [
            "what one reads about in {n}",
            "what the subject of {n} is",
            "what the book {n} tells of",
            "what {n} deals with",
            "what the pages of {n} tell of",
        ],
    ),
    "published": (
        ["When did {n} come out?", "What is the year of {n}?"],
        [
            "what year {n} is from",
            "what year {n} was published in",
            "which year {n} appeared in",
            "when {n} came out",
            "in what year {n} could first be bought",
        ],
    ),
}

# Sentences around an indirect question. The last is held out of training.
CARRIERS = [
    "Tell me {q}.",
    "Do you know {q}?",
    "I would like to know {q}.",
    "Please tell me {q}.",
    "Can you tell me {q}?",
    "Say {q}.",
    "I want to know {q}.",
    "Would you tell me {q}?",
    "Let me know {q}.",
    "Are you able to say {q}?",
    "Could you say {q}?",
]

# The assistant's answer: one sentence that names the entity first.
ANSWER_SENTENCES = {
    "birthplace": "{n} was born in {v}.",
    "profession": "{n} works as {a}.",
    "instrument": "{n} plays the {v}.",
    "born": "{n} was born in the year {v}.",
    "region": "{n} lies in {v}.",
    "river": "{n} stands on the river {v}.",
    "product": "{n} is known for its {v}.",
    "founded": "{n} was founded in {v}.",
    "makes": "{n} makes {v}.",
    "based": "{n} is based in {v}.",
    "opened": "{n} opened in {v}.",
    "author": "{n} was written by {v}.",
    "subject": "{n} is about {v}.",
    "published": "{n} was published in {v}.",
}
