"""The table of tokens, on every database."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import Account, Token, TokenKind
from fxa_auth.tokens import TokenKeys
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_verifier,
    an_account,
    keys,
    outcomes,
)

NOW_MS = 1_700_000_100_000
CODE = b"\xc0" * 16
BUNDLE = b"\xbb" * 96
SINGLE = (TokenKind.ACCOUNT_RESET, TokenKind.PASSWORD_FORGOT, TokenKind.PASSWORD_CHANGE)


class TokenContract(DatabaseContract):
    """What holds for tokens."""

    assertIsNone: Any
    assertIsNotNone: Any
    assertNotIn: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.add(an_account(locale="fr", email_verified=True))

    async def give(
        self, kind: TokenKind, account: Account | None = None, now_ms: int = NOW_MS, tries: int = 3
    ) -> TokenKeys:
        """Store a new token of the kind, as the domain does."""
        token, account, tokens = keys(kind), account or self.account, self.store.tokens
        if kind is TokenKind.PASSWORD_FORGOT:
            step = tokens.add_single(token, account.uid, now_ms, "account", CODE, tries)
        elif kind is TokenKind.ACCOUNT_RESET:
            step = tokens.add_single(token, account.uid, now_ms, "account")
        else:
            step = tokens.add(token, account, now_ms, "password", BUNDLE if kind is TokenKind.KEY_FETCH else None)
        await self.store.change(step)
        return token

    async def find(self, token: TokenKeys) -> Token | None:
        return await self.store.tokens.find(token.kind, token.id_hash)

    async def found(self, token: TokenKeys) -> Token:
        found = await self.find(token)
        assert found is not None
        return found

    async def test_a_token_comes_back_with_what_its_account_lends_it(self) -> None:
        for kind in TokenKind:
            token = await self.give(kind)
            is_forgot = kind is TokenKind.PASSWORD_FORGOT
            self.assertEqual(
                await self.find(token),
                Token(
                    kind=kind,
                    id_hash=token.id_hash,
                    uid=self.account.uid,
                    auth_key=token.auth_key,
                    created_at_ms=NOW_MS,
                    data=token.data if is_forgot else None,
                    pass_code=CODE if is_forgot else None,
                    tries=3 if is_forgot else None,
                    email=self.account.email,
                    email_verified=True,
                    verifier_set_at_ms=self.account.verifier_set_at_ms,
                    locale="fr",
                ),
            )

    async def test_a_token_is_found_by_its_own_kind_and_the_hash_of_its_id_only(self) -> None:
        token = await self.give(TokenKind.SESSION)
        for kind in TokenKind:
            found = await self.store.tokens.find(kind, token.id_hash)
            self.assertEqual(found is not None, kind is TokenKind.SESSION, kind)
        self.assertIsNone(await self.store.tokens.find(TokenKind.SESSION, token.id))

    async def test_an_account_has_many_sessions_and_key_fetch_tokens(self) -> None:
        other = await self.add(an_account("other@example.com"))
        await self.give(TokenKind.SESSION, other)
        for kind in (TokenKind.SESSION, TokenKind.KEY_FETCH):
            given = [await self.give(kind) for _ in range(3)]
            for token in given:
                self.assertIsNotNone(await self.find(token), kind)
        self.assertEqual(await self.store.tokens.count_sessions(self.account.uid), 3)
        self.assertEqual(await self.store.tokens.count_sessions(other.uid), 1)

    async def test_of_the_other_kinds_a_new_token_replaces_the_old(self) -> None:
        other = await self.add(an_account("other@example.com"))
        for kind in SINGLE:
            others = await self.give(kind, other)
            old, new = await self.give(kind), await self.give(kind, now_ms=NOW_MS + 1)
            self.assertIsNone(await self.find(old), kind)
            found = await self.found(new)
            self.assertEqual((found.auth_key, found.created_at_ms), (new.auth_key, NOW_MS + 1), kind)
            self.assertIsNotNone(await self.find(others), kind)

    async def test_a_new_forgot_token_has_all_its_tries_and_its_own_code(self) -> None:
        old = await self.give(TokenKind.PASSWORD_FORGOT)
        await self.store.change(self.store.tokens.count_try(await self.found(old), "token"))
        new = keys(TokenKind.PASSWORD_FORGOT)
        await self.store.change(self.store.tokens.add_single(new, self.account.uid, NOW_MS, "account", b"\xc1" * 16, 3))
        found = await self.found(new)
        self.assertEqual((found.tries, found.pass_code, found.data), (3, b"\xc1" * 16, new.data))

    async def test_no_token_without_its_account_and_the_password_that_was_seen(self) -> None:
        stranger = an_account("stranger@example.com")
        seen = self.account
        await self.store.change(self.store.accounts.set_verifier(seen.uid, a_verifier(), NOW_MS))
        for kind in (TokenKind.SESSION, TokenKind.KEY_FETCH, TokenKind.PASSWORD_CHANGE):
            for account in (stranger, seen):
                await self.assertDemandFails("password", self.give(kind, account))
        for kind in (TokenKind.ACCOUNT_RESET, TokenKind.PASSWORD_FORGOT):
            await self.assertDemandFails("account", self.give(kind, stranger))
        self.assertEqual(await self.rows("tokens"), [])

    async def test_of_twenty_that_consume_a_token_one_does(self) -> None:
        for kind in TokenKind:
            token = await self.found(await self.give(kind))
            step = self.store.tokens.consume(token, "token is there")
            counted = await outcomes([self.store.change(step) for _ in range(20)])
            self.assertEqual(counted, {"done": 1, "token is there": 19}, kind)

    async def test_the_key_bundle_comes_out_when_its_token_is_consumed(self) -> None:
        token, other = await self.give(TokenKind.KEY_FETCH), await self.give(TokenKind.KEY_FETCH)
        [[row]] = await self.store.change(self.store.tokens.consume_key_bundle(await self.found(token), "token"))
        self.assertEqual(self.store.tokens.key_bundle(row), BUNDLE)
        self.assertIsNone(await self.find(token))
        self.assertIsNotNone(await self.find(other))

    async def test_tries_are_counted_down_and_end(self) -> None:
        token = await self.give(TokenKind.PASSWORD_FORGOT)
        found, tokens = await self.found(token), self.store.tokens
        for left in (2, 1):
            [[row], _] = await self.store.change(tokens.count_try(found, "token"), tokens.delete_exhausted(found))
            self.assertEqual((row["tries"], (await self.found(token)).tries), (left, left))
        [[row], _] = await self.store.change(tokens.count_try(found, "token"), tokens.delete_exhausted(found))
        self.assertEqual(row["tries"], 0)
        self.assertIsNone(await self.find(token))
        await self.assertDemandFails("token", self.store.change(tokens.count_try(found, "token")))

    async def test_of_twenty_guesses_at_once_as_many_count_as_there_are_tries(self) -> None:
        token = await self.give(TokenKind.PASSWORD_FORGOT)
        step = self.store.tokens.count_try(await self.found(token), "tries are left")
        counted = await outcomes([self.store.change(step) for _ in range(20)])
        self.assertEqual(counted, {"done": 3, "tries are left": 17})

    async def test_all_tokens_of_one_account_can_go_at_once(self) -> None:
        other = await self.add(an_account("other@example.com"))
        for kind in TokenKind:
            await self.give(kind)
            await self.give(kind, other)
        await self.store.change(self.store.tokens.delete_all(self.account.uid))
        self.assertEqual({row["uid"] for row in await self.rows("tokens")}, {other.uid})
        self.assertEqual(len(await self.rows("tokens")), len(TokenKind))

    async def test_pruning_takes_what_is_older_in_batches(self) -> None:
        for number in range(5):
            owner = await self.add(an_account(f"{number}@example.com"))
            await self.give(TokenKind.ACCOUNT_RESET, owner, now_ms=NOW_MS + number)
            await self.give(TokenKind.PASSWORD_FORGOT, owner, now_ms=NOW_MS)
        taken = []
        for _ in range(3):
            [rows] = await self.store.change(self.store.tokens.prune(TokenKind.ACCOUNT_RESET, NOW_MS + 3, 2))
            taken.append(len(rows))
        self.assertEqual(taken, [2, 1, 0])
        left = [(row["kind"], row["created_at_ms"]) for row in await self.rows("tokens")]
        resets = [created for kind, created in left if kind == "accountResetToken"]
        self.assertEqual((sorted(resets), len(left)), ([NOW_MS + 3, NOW_MS + 4], 7))

    async def test_pruning_takes_the_oldest_first_but_for_those_that_it_is_to_skip(self) -> None:
        for age in (2, 0, 3, 1):
            owner = await self.add(an_account(f"{age}@example.com"))
            await self.give(TokenKind.ACCOUNT_RESET, owner, now_ms=NOW_MS - age)
        for limit, skipped, left in ((1, 0, [2, 1, 0]), (1, 1, [2, 0]), (5, 1, [2]), (5, 1, [2]), (5, 0, [])):
            await self.store.change(self.store.tokens.prune(TokenKind.ACCOUNT_RESET, NOW_MS + 1, limit, skipped))
            ages = [NOW_MS - row["created_at_ms"] for row in await self.rows("tokens")]
            self.assertEqual(sorted(ages, reverse=True), left, (limit, skipped))

    async def test_what_never_expires_is_never_pruned(self) -> None:
        for kind in (TokenKind.SESSION, TokenKind.KEY_FETCH):
            await self.give(kind, now_ms=0)
            [rows] = await self.store.change(self.store.tokens.prune(kind, NOW_MS, 100))
            self.assertEqual(list(rows), [], kind)
        self.assertEqual(len(await self.rows("tokens")), 2)

    async def test_nothing_that_opens_a_door_is_stored_in_the_clear(self) -> None:
        for kind in TokenKind:
            token = await self.give(kind)
            found = await self.found(token)
            [row] = [row for row in await self.rows("tokens") if row["kind"] == kind.value]
            values = b"|".join(value for value in row.values() if isinstance(value, bytes))
            for secret in (token.data, token.id, token.auth_key, token.bundle_key, BUNDLE, CODE):
                self.assertNotIn(secret, values, kind)
            for column, value in (
                ("auth_key", token.auth_key),
                ("token_data", found.data),
                ("pass_code", found.pass_code),
            ):
                opened = row[column] and self.seal.open(row[column], "tokens", column, token.id_hash)
                self.assertEqual(opened, value, (kind, column))


class SqliteFileTests(OnSqliteFile, TokenContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, TokenContract, TestCase):
    """In SQLite's memory."""
