"""What all processes of an installation must agree on: Kafka cluster, partitions, master key, and the times from which one
process concludes what another may still do. Recorded at first use, compared at each start (decision 076)."""

from schemas.constants import AGREED_TIMES
from streams.step.contract import Cursor
from vault.base import VaultBase, as_json
from vault.errors import InstallationMismatch, KeyRefused, MasterKeyInvalid

_MASTER = ("master key",)


class InstallationPart(VaultBase):
    """Whether this process belongs here."""

    def bind_installation(self, cluster_id: str, partitions: int) -> None:
        """Record at first use what all must agree on; InstallationMismatch or MasterKeyInvalid says what differs."""
        with self.transaction() as cursor:
            self._check_master_key(cursor)
            cursor.execute(
                "insert into vault.installation (cluster_id, partitions) values (%s, %s) on conflict do nothing",
                [cluster_id, partitions],
            )
            cursor.execute("select cluster_id, partitions from vault.installation")
            row = cursor.fetchone()
            if row != (cluster_id, partitions):
                raise InstallationMismatch(
                    f"the vault belongs to cluster {row[0] if row else None}, {row[1] if row else 0} partitions"
                )
            self._record_times(cursor, replace=False)
            for name, seconds in self._recorded(cursor).items():
                here = getattr(self.times, name)
                if here != seconds:
                    raise InstallationMismatch(
                        f"SEALPOST_{name.upper()} is {here:g} here and {seconds:g} in this installation"
                    )

    def check_master_key(self) -> None:
        """MasterKeyInvalid when the installation has another master key than this process; recorded at first use."""
        with self.transaction() as cursor:
            self._check_master_key(cursor)

    def agree_on_times(self) -> None:
        """Make the times of this process those of the installation. All its roles must be stopped: what one of them still
        holds ends by the times it was started with."""
        with self.transaction() as cursor:
            self._check_master_key(cursor)
            self._record_times(cursor, replace=True)

    def agreed_times(self) -> dict[str, float]:
        """Name → seconds, as recorded; empty before the first role has started."""
        with self._statement() as cursor:
            return self._recorded(cursor)

    def _check_master_key(self, cursor: Cursor) -> None:
        cursor.execute("select kcv from vault.master_key")
        known = cursor.fetchone()
        if known is None and not self._opens_a_tenant(cursor):
            raise MasterKeyInvalid(
                "the master key opens no tenant of this vault: it is another installation's"
            )
        here = self.keyring.check_value(_MASTER)
        if known is None:
            cursor.execute("insert into vault.master_key (kcv) values (%s) on conflict do nothing", [here])
            cursor.execute("select kcv from vault.master_key")
            known = cursor.fetchone()
        if known != (here,):
            raise MasterKeyInvalid("the master key is not the one this vault was made with")

    def _opens_a_tenant(self, cursor: Cursor) -> bool:
        """True also without tenants. One damaged row says nothing about the master key."""
        cursor.execute("select tenant, wrapped_key, kcv from vault.tenants order by tenant")
        rows = cursor.fetchall()
        for tenant, wrapped, kcv in rows:
            try:
                self.keyring.unwrap_checked(("tenant key", tenant), wrapped, kcv)
            except KeyRefused:
                continue
            return True
        return not rows

    def _record_times(self, cursor: Cursor, *, replace: bool) -> None:
        times = {name: getattr(self.times, name) for name in AGREED_TIMES}
        conflict = b"(name) do update set seconds = excluded.seconds" if replace else b"do nothing"
        cursor.execute(
            b"insert into vault.agreed_times (name, seconds) select key, value::double precision"
            b" from json_each_text(%s::json) order by key on conflict " + conflict,
            [as_json(times)],
        )

    @staticmethod
    def _recorded(cursor: Cursor) -> dict[str, float]:
        cursor.execute("select name, seconds from vault.agreed_times order by name")
        return {name: seconds for name, seconds in cursor.fetchall() if name in AGREED_TIMES}
