// The customer's phone: follow, write, send files, and see the account's answers.

import { contents, kindName, mark } from "./bubble.js";
import { touch, when } from "./changes.js";
import { choose } from "./choices.js";
import { byId, el, icon, on, set, tabKeys, toggles, updateList, write } from "./dom.js";
import { chooseFile } from "./files.js";
import { announce, request, submit } from "./notice.js";
import { colourOf, customerShown, now, state } from "./store.js";
import { isKnown, nameText, t } from "./texts.js";
import { bubbleList } from "./thread.js";

// Messages that need no input: the sandbox has a sample of each.
const SAMPLES = ["image", "voice", "video", "sticker", "location", "link", "scan"];

const screen = bubbleList(byId("screen"), { classOf, contents: screenContents, foot });

export function mountPhone() {
	tabKeys(byId("customers"));
	byId("new-customer").append(icon("plus"));
	on("new-customer", "click", addCustomer);
	byId("more").append(icon("plus"));
	toggles("more", "tray");
	on("follow", "click", () => act({ do: customerShown().following ? "unfollow" : "follow" }));
	on("phone-form", "submit", (event) => {
		event.preventDefault();
		submit(byId("phone-text"), (text) => act({ do: "text", text }));
	});
	when(["customers", "choices"], drawCustomers);
	when(["customers", "choices"], drawScreen);
	when(["customers", "choices", "clock", "second"], drawWindow);
	when(["customers", "choices", "clock", "second"], drawTyping);
	when(["account"], drawAccount);
	when(["account"], drawTray);
	setInterval(() => touch("second"), 1000);
}

function act(body) {
	const customer = customerShown();
	return customer && request(`/api/customers/${encodeURIComponent(customer.openid)}`, body);
}

async function addCustomer() {
	const added = await request("/api/customers", {});
	if (added?.openid) choose({ openid: added.openid, agent: null, conversations: {} });
}

function drawCustomers() {
	const shown = customerShown();
	updateList(
		byId("customers"),
		state.customers,
		(customer) => `${customer.openid} ${customer.name}`,
		({ openid, name }) => {
			const pick = () => choose({ openid, agent: null, conversations: {} });
			return el("button", { role: "tab", on: { click: pick } }, mark(name, colourOf(openid)));
		},
		(tab, { openid, name, following }) => {
			const isChosen = openid === shown?.openid;
			const label = nameText(name);
			// The row of customers may be wider than its place.
			if (isChosen && tab.ariaSelected !== "true")
				requestAnimationFrame(() => tab.scrollIntoView({ block: "nearest" }));
			set(tab, { "aria-label": label, title: label });
			set(tab, { "aria-selected": String(isChosen), tabindex: isChosen ? 0 : -1, "aria-controls": "phone-body" });
			set(tab, { "data-following": String(following) });
		},
	);
}

function drawScreen(parts) {
	const customer = customerShown();
	if (!customer) return;
	const { openid, following } = customer;
	const name = nameText(customer.name);
	write(byId("phone-name"), name);
	set(byId("phone-body"), {
		"aria-label": t("phone.screen.of", { name }),
		"data-following": String(following),
		"data-colour": colourOf(openid),
	});
	write(byId("follow"), t(following ? "phone.unfollow" : "phone.follow"));
	const fresh = screen.draw(openid, customer.screen, t("phone.empty"), parts.has("language"));
	const latest = fresh.filter((message) => message.from !== "me").at(-1);
	if (latest) announce(t("phone.arrived", { name, text: latest.text || kindName(latest.kind) }));
}

function classOf(message) {
	const side = { me: "mine", account: "theirs", system: "system" }[message.from];
	return `${side}${message.via === "fault" ? " fault" : ""}${message.kind === "event" ? " event" : ""}`;
}

/** A message; an event of WeChat's in words, with its key. */
function screenContents(message) {
	if (message.kind !== "event") return contents(message, message.media);
	const [event, ...key] = message.text.split(" ");
	const name = isKnown(`event.${event}`) ? t(`event.${event}`) : event;
	return [el("span", { text: [name, ...key].join(" ") })];
}

function foot(message) {
	if (message.pending) return t("phone.pending");
	return message.from === "account" && message.via ? t(`via.${message.via}`) : "";
}

function drawWindow() {
	const customer = customerShown();
	if (!customer) return;
	const { sends_left: left, closes_at: closes } = customer.window;
	const minutes = closes === null ? 0 : Math.ceil((closes - now()) / 60_000);
	const isOpen = minutes > 0;
	const time = { hours: Math.floor(minutes / 60), minutes: String(minutes % 60).padStart(2, "0"), left };
	write(byId("window"), isOpen ? t("phone.window", time) : t("phone.window.closed"));
	set(byId("window"), { "data-open": String(isOpen && left > 0) });
}

function drawTyping() {
	write(byId("typing"), customerShown()?.typing_until > now() ? t("phone.typing") : "");
}

function drawAccount() {
	const { personal, mode } = state.account;
	const kind = t(personal ? "account.personal" : "account.service");
	write(byId("account-kind"), `${kind} · ${t(`mode.${mode}`)}`);
}

function drawTray() {
	const things = SAMPLES.map((name) => thing(name, t(`kind.${name}`), () => act({ do: name })));
	byId("tray").replaceChildren(...things, thing("upload", t("phone.upload"), upload));
	const label = ({ key, title }) => (isKnown(`menu.${key}`) ? t(`menu.${key}`) : title);
	const item = ({ key, title }) =>
		el("button", { text: label({ key, title }), on: { click: () => act({ do: "menu", key }) } });
	byId("menu").replaceChildren(...state.menu.map(item));
}

function thing(glyph, label, send) {
	return el("button", { "data-do": glyph, on: { click: send } }, icon(glyph), el("span", { text: label }));
}

async function upload() {
	const file = await chooseFile("image/*,audio/*,video/*");
	if (!file) return;
	const { kind, ...rest } = file;
	act({ do: { audio: "voice", video: "video" }[kind] ?? "image", ...rest });
}
