"""Letterbox on this machine."""

import orjson
from aiohttp import web

from letterbox import SIGNATURE, TEXT_MAX, signature
from sealpost import simulator as sim


class LetterboxSimulator(sim.SimulatedProvider):
    async def mails(self, request: web.Request) -> web.StreamResponse:
        asked, account = await sim.control_body(request), self.settings.accounts[0]
        if request.headers.get("Authorization") != f"Bearer {account.access_token}":
            return sim.json_answer({"error": "token"}, 401)
        if len(asked["text"]) > TEXT_MAX:
            return sim.json_answer({"error": "too_long"}, 400)
        answer = await sim.suffer(request, self.faults.take(asked["to"]), "before", self.fault_error)
        if answer is not None:
            return answer
        mail = {"id": sim.random_id(), "to": asked["to"], "body": asked["text"]}
        self.record.add(mail)
        return sim.json_answer({"id": mail["id"]})

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        mail = {"type": "mail", "id": sim.random_id(), **await sim.control_body(request)}
        return sim.reported(await self.webhooks.send(orjson.dumps({"events": [mail]})), id=mail["id"])

    def recipient_key(self, text: str) -> str:
        return text


async def serve(settings: sim.SimulatorSettings) -> None:
    one = LetterboxSimulator(settings, lambda body: {SIGNATURE: signature(settings.app_secret, body)})
    await sim.serve_provider(one, [web.post("/mails", one.mails), web.post("/control/inbound", one.inbound)])
