// One call in full: its headers and bodies, with decrypted bodies beside the encrypted ones.

import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, icon, set } from "./dom.js";
import { nameOf, state } from "./store.js";
import { clockTime, duration, t } from "./texts.js";
import { idsOf } from "./trace.js";

let drawn = "";

export function mountCall(place) {
	place.addEventListener("keydown", (event) => {
		if (event.key === "Escape") close();
	});
	when(["choices", "wire"], () => draw(place));
}

function close() {
	choose({ call: null, isWide: false });
	byId("calls").focus();
}

function draw(place) {
	const call = state.wire.get(choices.call);
	place.hidden = !call;
	set(document.body, { "data-wide": call && choices.isWide });
	// Draw each call once, so that selection, scroll position and open lists survive new calls.
	const now = call ? [call.id, call.status, choices.isWide, t("call.request")].join(" ") : "";
	if (now === drawn) return;
	drawn = now;
	place.replaceChildren();
	if (call) place.append(head(call), about(call), half("request", call.request), half("response", call.response));
}

function head(call) {
	const follow = () => choose({ follow: call.message });
	const widen = () => choose({ isWide: !choices.isWide });
	const tool = (glyph, label, click, more) =>
		el("button", { class: "plain square", label, on: { click }, ...more }, icon(glyph));
	const title = el("h3", { id: "call-title" }, el("b", { text: `${call.method} ` }), call.path);
	return el(
		"header",
		{},
		title,
		call.message && el("button", { class: "plain", text: t("call.follow"), on: { click: follow } }),
		tool("wide", t("call.wide"), widen, { "aria-pressed": String(choices.isWide) }),
		tool("close", t("call.close"), close),
	);
}

function about(call) {
	const facts = {
		"call.way": t("wire.way", { from: t(`party.${call.from}`), to: t(`party.${call.to}`) }),
		"call.at": clockTime(call.at),
		"call.took": duration(call.took_ms),
		"call.status": call.status ?? t("call.unanswered"),
		"call.instance": call.instance,
		"call.customer": call.customer && nameOf(call.customer),
		"call.message": idsOf(call).join(" "),
		"call.query": call.query,
		"call.note": call.note,
	};
	const list = el("dl", { class: "facts" });
	for (const [key, fact] of Object.entries(facts)) {
		if (fact) list.append(el("div", {}, el("dt", { text: t(key) }), el("dd", { text: fact })));
	}
	return list;
}

function half(part, { headers = [], body = "", decrypted = null } = {}) {
	const lines = headers.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })));
	const bodies = el("div", { class: "bodies" }, sheet(decrypted ? t("call.encrypted") : "", body));
	if (decrypted) bodies.append(sheet(t("call.decrypted"), decrypted));
	return el(
		"section",
		{ class: "half" },
		el("h4", { text: t(`call.${part}`) }),
		el(
			"details",
			{},
			el("summary", { text: t("call.headers", { count: headers.length }) }),
			el("dl", { class: "headers" }, ...lines),
		),
		body || decrypted ? bodies : el("p", { class: "none", text: t("call.nothing") }),
	);
}

function sheet(title, text) {
	const page = el("pre", { tabindex: 0, "aria-label": title || t("call.body") }, ...tinted(text));
	return el("div", {}, title && el("h5", { text: title }), page);
}

// Tags and keys, then strings, then numbers: enough to read XML and JSON.
const TOKENS =
	/(<\/?[\w-]+>|"[^"\n]{1,64}"(?=\s*:))|(<!\[CDATA\[|\]\]>)|("(?:[^"\\\n]|\\.){0,2000}")|(\b-?\d+(?:\.\d+)?\b)/g;
const TINTS = ["name", "faint", "string", "number"];

function tinted(text) {
	const parts = [];
	let end = 0;
	for (const match of text.matchAll(TOKENS)) {
		const tint = TINTS[match.slice(1).findIndex((group) => group !== undefined)];
		parts.push(text.slice(end, match.index), el("i", { class: tint, text: match[0] }));
		end = match.index + match[0].length;
	}
	parts.push(text.slice(end));
	return parts;
}
