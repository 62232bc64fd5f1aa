"""Random conversations, many at a time: every statement of PostgreSQL's own log has its event, and no event lacks one."""

import concurrent.futures
import contextlib
import os
import random

import psycopg

from test_audit import audited, compare, database  # noqa: F401 (fixtures)

SESSIONS = int(os.environ.get("SALLYPORT_CONVERSATIONS", "24"))
STEPS = 40


class Conversation:
    """One session that does what a seed says; a good part of it fails."""

    def __init__(self, dsn, seed):
        self.dsn, self.seed, self.random = dsn, seed, random.Random(seed)
        self.steps = [
            self.several, self.parameters, self.prepared, self.pipeline, self.copy_in, self.copy_out, self.transaction,
            self.cursor, self.function, self.server_side,
        ]

    def run(self):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            self.connection = connection
            connection.prepare_threshold = 3
            connection.execute(f"create temporary table t{self.seed} (a int primary key, b text)")
            for self.step in range(STEPS):
                with contextlib.suppress(psycopg.Error):
                    self.random.choice(self.steps)()
        return STEPS

    def one(self):
        """A statement with a text of its own, right, or wrong in one of the ways there are."""
        mark = f"/* {self.seed}.{self.step}.{self.random.randrange(1000)} */"
        return self.random.choice([
            f"select {mark} 1", f"select {mark} 'a', 2", f"select 1 / 0 {mark}", f"selec {mark}",
            f"select * from nowhere {mark}", f"insert into t{self.seed} values ({self.random.randrange(9)}, 'x') {mark}",
            f"update t{self.seed} set b = 'ü;' {mark}", f"do $$ begin perform 1; end $$ {mark}", f"values (1), (2) {mark}",
        ])

    def several(self):
        """One Query message with several statements."""
        self.connection.execute("; ".join(self.one() for _ in range(self.random.randint(1, 4))))

    def parameters(self):
        value = self.random.choice([1, 0, None, "no number"])
        # Its text is its own: a failure of the same text as the statement before would look like that one's in the log.
        self.connection.execute(f"select {self.seed}{self.step:03} / %s::int", (value,))

    def prepared(self):
        for number in range(self.random.randint(1, 6)):
            self.connection.execute(f"select %s::text || '{self.seed}'", (str(number),), prepare=self.random.random() < 0.5)

    def pipeline(self):
        with self.connection.pipeline() as pipeline:
            for number in range(self.random.randint(1, 30)):
                if self.random.random() < 0.1:
                    self.connection.execute("select 1 / %s::int as failing", (0,))
                else:
                    self.connection.execute(f"select %s::int as p{self.seed}", (number,))
                if self.random.random() < 0.2:
                    with contextlib.suppress(psycopg.Error):
                        pipeline.sync()

    def copy_in(self):
        with self.connection.cursor() as cursor, cursor.copy(f"copy t{self.seed} from stdin") as copy:
            for number in range(self.random.randint(0, 20)):
                copy.write_row((1000 * self.step + number, "row"))
            ending = self.random.random()
            if ending < 0.2:
                copy.write("not a row at all\n")
            elif ending < 0.4:
                raise psycopg.DataError("the client gives up: CopyFail")

    def copy_out(self):
        with self.connection.cursor() as cursor, cursor.copy(f"copy (select generate_series(1, {self.step})) to stdout") as copy:
            for _ in copy:
                pass

    def transaction(self):
        with self.connection.transaction():
            for _ in range(self.random.randint(1, 3)):
                with self.connection.transaction():
                    self.connection.execute(self.one())

    def cursor(self):
        with self.connection.transaction(), self.connection.cursor(name="c") as cursor:
            cursor.itersize = 7
            cursor.execute(f"select {self.seed} from generate_series(1, %s)", (self.random.randint(1, 30),))
            list(cursor)

    def function(self):
        name = f"pg_temp.f{self.step}"
        self.connection.execute(f"create function {name}(x int) returns int language plpgsql as 'begin return 10 / x; end'")
        self.connection.execute(f"select {name}(%s)", (self.random.choice([1, 0]),))

    def server_side(self):
        """PREPARE and EXECUTE in SQL: PostgreSQL logs what was sent, and so does the audit log."""
        self.connection.execute(f"prepare s{self.step} as select $1::int + {self.seed}")
        self.connection.execute(f"execute s{self.step}({self.random.choice(['1', chr(39) + 'x' + chr(39)])})")
        self.connection.execute(f"deallocate s{self.step}")


def test_every_statement_of_random_conversations_has_its_event(audited, database):  # noqa: F811
    conversations = [Conversation(database.dsn, seed) for seed in range(SESSIONS)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(Conversation.run, conversations)) == SESSIONS * STEPS
    statements = compare(audited)
    total = sum(statements.values())
    print(f"{total} statements of {SESSIONS} sessions, each with its event")
    assert total > SESSIONS * STEPS
