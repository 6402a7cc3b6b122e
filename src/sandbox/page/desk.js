// The agents' desk: conversations, the bridge's notes, and answers.

import { contents, drawn, EMOJI, kindName, mark } from "./bubble.js";
import { when } from "./changes.js";
import { choices, choose } from "./choices.js";
import { byId, el, icon, listKeys, on, set, tabKeys, toggles, updateList, write } from "./dom.js";
import { mountDuty } from "./duty.js";
import { chooseFile } from "./files.js";
import { announce, request, submit } from "./notice.js";
import { colourOf, customerOf, customerShown, nameOf, state } from "./store.js";
import { t } from "./texts.js";
import { bubbleList } from "./thread.js";

const NOTE = /^\[bridge\]\s*/;
const messages = bubbleList(byId("messages"), { classOf, contents: messageContents, foot: () => "", action });
let lastRead = "";
let quote = null;
// The conversation that the composer's text is for.
let composing = null;

export function mountDesk() {
	tabKeys(byId("agents"));
	listKeys(byId("conversations"), stepConversation);
	// Buttons that send the sandbox's samples, and one that uploads a file.
	for (const [kind, glyph] of Object.entries({ image: "image", sound: "voice", file: "file" })) {
		byId(`desk-${kind}`).append(icon(glyph));
		on(`desk-${kind}`, "click", () => act({ do: kind }));
	}
	byId("desk-upload").append(icon("upload"));
	on("desk-upload", "click", upload);
	byId("desk-emoji").append(icon("emoji"));
	toggles("desk-emoji", "emoji");
	for (const [name, shown] of Object.entries(EMOJI)) {
		const put = () => {
			const text = byId("desk-text");
			text.setRangeText(`[TUIEmoji_${name}]`, text.selectionStart, text.selectionEnd, "end");
			text.focus();
			compose();
		};
		byId("emoji").append(el("button", { text: shown, label: name, on: { click: put } }));
	}
	on("desk-text", "input", compose);
	on("desk-form", "submit", (event) => {
		event.preventDefault();
		submit(byId("desk-text"), async (text) => {
			// The kit ends its signal with the message.
			composing = null;
			const quoted = quote;
			setQuote(null);
			const sent = await act({ do: "text", text, ...(quoted && { quote: quoted.key }) });
			if (sent === null) setQuote(quoted);
			return sent;
		});
	});
	when(["agents", "choices"], drawAgents);
	mountDuty(agent);
	when(["agents", "customers", "choices"], drawConversations);
	when(["agents", "choices"], drawCommands);
	when(["agents", "customers", "choices"], drawTalk);
}

/** The chosen agent; else the one who talks with the customer on the phone. */
function agent() {
	const has = (isWanted) => state.agents.find((one) => one.conversations.some(isWanted));
	const chosen = state.agents.find((one) => one.user_id === choices.agent);
	return chosen ?? has(isOnPhone) ?? has(Boolean) ?? state.agents[0];
}

function isOnPhone({ openid }) {
	return openid === customerShown()?.openid;
}

function conversation() {
	const { conversations = [], user_id: user } = agent() ?? {};
	const chosen = conversations.find((one) => one.customer === choices.conversations[user]);
	return chosen ?? conversations.find(isOnPhone) ?? conversations[0];
}

function open(customer) {
	const user = agent().user_id;
	choose({ agent: user, conversations: { ...choices.conversations, [user]: customer } });
}

function act(body) {
	const path = pathOf();
	return path && request(path, body);
}

function pathOf() {
	const shown = conversation();
	return shown && `/api/agents/${encodeURIComponent(agent().user_id)}/${encodeURIComponent(shown.customer)}`;
}

/** Reports the composer as the kit sees it: it decides whether to signal. */
function compose() {
	const path = byId("desk-text").value ? pathOf() : null;
	if (composing && composing !== path) request(composing, { do: "compose", empty: true });
	composing = path;
	if (path) request(path, { do: "compose", empty: false });
}

function setQuote(message) {
	quote = message;
	byId("quoting").hidden = !message;
	const about = message && t("desk.quoting", { text: message.text || kindName(message.kind) });
	const close = () => setQuote(null);
	const parts = [
		el("span", { text: about }),
		el("button", { label: t("call.close"), on: { click: close } }, icon("close")),
	];
	byId("quoting").replaceChildren(...(message ? parts : []));
	if (message) byId("desk-text").focus();
}

/** What can be done with a message: quote a customer's; take an own one back, which IM allows for two minutes. */
function action(message) {
	const button = (name, click) => el("button", { class: "action", text: t(`desk.${name}`), on: { click } });
	if (message.from === "customer") return button("quote", () => setQuote(message));
	return message.from === "agent" && button("recall", () => act({ do: "recall", message: message.key }));
}

async function upload() {
	const file = await chooseFile("");
	if (!file) return;
	const { kind, ...rest } = file;
	act({ do: { image: "image", audio: "sound" }[kind] ?? "file", ...rest });
}

function unreadOf({ conversations }) {
	return conversations.reduce((sum, one) => sum + one.unread, 0);
}

function drawAgents() {
	const shown = agent();
	updateList(
		byId("agents"),
		state.agents,
		(one) => one.user_id,
		({ user_id: user }) =>
			el(
				"button",
				{ role: "tab", on: { click: () => choose({ agent: user }) } },
				el("i", { class: "lamp", role: "img" }),
				el("span", { text: user }),
				el("b", { class: "unread" }),
			),
		(tab, one) => {
			const isChosen = one === shown;
			set(tab, { "aria-selected": String(isChosen), tabindex: isChosen ? 0 : -1, "aria-controls": "desk-body" });
			const presence = t(one.signed_in ? "desk.in" : "desk.out");
			set(tab.querySelector(".lamp"), { "data-in": one.signed_in, "aria-label": presence, title: presence });
			drawUnread(tab.querySelector(".unread"), isChosen ? 0 : unreadOf(one));
		},
	);
}

function drawUnread(badge, count) {
	write(badge, count || "");
	set(badge, { "aria-label": count ? t("desk.unread", { count }) : null });
}

function drawConversations(parts) {
	const list = byId("conversations");
	const { conversations = [], user_id: user } = agent() ?? {};
	const shown = conversation();
	if (parts.has("language")) list.replaceChildren();
	set(list, { "data-empty": conversations.length ? null : t("desk.none") });
	updateList(
		list,
		conversations,
		(one) => `${user} ${one.customer} ${nameOf(one.openid)}`,
		(one) => {
			const name = nameOf(one.openid);
			return el(
				"div",
				{ role: "option", id: `with-${one.customer}`, on: { click: () => open(one.customer) } },
				mark(name, colourOf(one.openid)),
				el("span", { class: "lines" }, el("b", { text: name }), el("small")),
				el("b", { class: "unread" }),
			);
		},
		(option, one) => {
			set(option, { "aria-selected": String(one === shown) });
			const last = one.messages.at(-1);
			write(option.querySelector("small"), last ? last.text || kindName(last.kind) : "");
			drawUnread(option.querySelector(".unread"), one === shown ? 0 : one.unread);
		},
	);
	set(list, { "aria-activedescendant": shown ? `with-${shown.customer}` : null });
}

function stepConversation(by) {
	const { conversations } = agent();
	const here = conversations.indexOf(conversation());
	const there = conversations[Math.min(Math.max(here + by, 0), conversations.length - 1)];
	if (there) open(there.customer);
}

function drawTalk(parts) {
	const shown = conversation();
	const user = agent()?.user_id;
	set(byId("desk"), { "data-idle": !shown });
	write(byId("talk-with"), shown ? `${user} · ${nameOf(shown.openid)}` : "");
	set(byId("desk-body"), { "data-colour": colourOf(shown?.openid) });
	const key = shown ? `${user} ${shown.customer}` : "";
	if (composing && composing !== pathOf()) compose();
	if (quote && !shown?.messages.some((message) => message.key === quote.key)) setQuote(null);
	const fresh = messages.draw(key, shown?.messages ?? [], t("desk.empty"), parts.has("language"));
	const latest = fresh.filter((message) => message.from !== "agent").at(-1);
	if (latest) announce(t("desk.arrived", { agent: user, text: latest.text || kindName(latest.kind) }));
	const isSeen = document.visibilityState === "visible" && byId("desk").offsetParent !== null;
	if (shown?.unread && isSeen && agent().signed_in) markRead(shown, key);
}

/** Sends once for each newest message, because the resulting event draws this again. */
function markRead(shown, key) {
	const newest = `${key} ${shown.messages.at(-1)?.id}`;
	if (newest === lastRead) return;
	lastRead = newest;
	act({ do: "read" });
}

function classOf(message) {
	return { customer: "theirs", agent: "mine", note: "note" }[message.from];
}

function messageContents(message) {
	const text = message.from === "note" ? message.text.replace(NOTE, "") : drawn(message.text);
	// The bridge deletes the files of a customer who unfollowed.
	const isGone = customerOf(conversation()?.openid)?.following === false;
	const parts = contents({ ...message, text }, isGone && message.from === "customer" ? null : message.url);
	if (message.from === "note") return [el("b", { class: "label", text: t("desk.note") }), ...parts];
	return [message.quoted && el("q", { text: message.quoted }), ...parts];
}

function drawCommands() {
	const others = state.agents.map((one) => one.user_id).filter((user) => user !== agent()?.user_id);
	const offered = [
		"/who",
		...others.map((user) => `/to ${user}`),
		"/note ",
		"/history",
		"/retry",
		"/drop",
		"/close",
		"/help",
	];
	const about = (command) => t(`command.${command.split(" ")[0].slice(1)}`);
	const create = (command) => {
		const put = () => {
			byId("desk-text").value = command;
			byId("desk-text").focus();
		};
		return el("button", { text: command.trim(), on: { click: put } });
	};
	updateList(byId("commands"), offered, String, create, (button, command) =>
		set(button, { title: about(command), "aria-label": `${command}: ${about(command)}` }),
	);
}
