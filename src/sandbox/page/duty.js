// Who is on duty: whether the shown agent is signed in, whether the desk is open, and who waits in line.

import { mark } from "./bubble.js";
import { when } from "./changes.js";
import { choose } from "./choices.js";
import { byId, el, set, updateList, write } from "./dom.js";
import { request } from "./notice.js";
import { colourOf, nameOf, state } from "./store.js";
import { t, timeSince } from "./texts.js";

/** `agent` returns the agent whose desk is shown. */
export function mountDuty(agent) {
	byId("presence").addEventListener("click", () => {
		const { user_id: user, signed_in: isIn } = agent();
		request(`/api/agents/${encodeURIComponent(user)}`, { do: isIn ? "sign_out" : "sign_in" });
	});
	when(["agents", "choices"], () => drawPresence(agent()));
	when(["desk"], drawHours);
	when(["desk", "customers", "second"], drawLine);
}

/** The switch that signs the shown agent in and out. */
function drawPresence(shown) {
	if (!shown) return;
	const { user_id: user, signed_in: isIn } = shown;
	set(byId("presence"), { "aria-checked": String(isIn), "aria-label": t("desk.presence", { user }) });
	write(byId("presence").lastElementChild, t(isIn ? "desk.in" : "desk.out"));
	set(byId("desk"), { "data-out": !isIn });
	byId("signed-out").hidden = isIn;
	write(byId("signed-out"), t("desk.signed_out", { user }));
}

/** Whether the desk is open, by its own clock. */
function drawHours() {
	const { hours } = state.desk;
	const isClosed = Boolean(hours?.opens);
	const words = hours ? t(isClosed ? "desk.closed" : "desk.open", hours) : t("desk.always");
	write(byId("hours"), words);
	set(byId("hours"), { "data-closed": isClosed });
}

/** The customers who wait for an agent, the one who is served next first. */
function drawLine() {
	const { line } = state.desk;
	set(byId("line"), { "data-none": !line.length });
	write(byId("line-title"), line.length ? t("desk.line", { count: line.length }) : t("desk.line.none"));
	updateList(
		byId("line-list"),
		line,
		(one) => one.openid,
		({ openid }) => {
			const pick = () => choose({ openid });
			const words = [el("span", { class: "hidden" }), el("span", { "aria-hidden": "true" })];
			return el("li", {}, el("button", { on: { click: pick } }, mark(nameOf(openid), colourOf(openid)), ...words));
		},
		({ firstElementChild: button }, { openid, since, messages: count }) => {
			const time = timeSince(since);
			write(button.lastElementChild, time);
			write(button.querySelector(".hidden"), t("desk.waits", { name: nameOf(openid), time, count }));
		},
	);
}
