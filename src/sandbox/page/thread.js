// A list of bubbles that is kept up, stays at its end, and tells which messages are new.

import { el, keepUp, set, stickToEnd, write } from "./dom.js";
import { exact } from "./texts.js";

// More than anybody scrolls back through; the sandbox itself keeps more.
const SHOWN = 200;
const GAP_MS = 5 * 60 * 1000;

/** `draw(whose, messages)` shows them, and gives those that came since the last time the same list was shown. */
export function bubbleList(list, { classOf, contents, foot }) {
	const end = stickToEnd(list);
	let shown = null;
	let latest = -1;

	function create(message, before) {
		const bubble = el("div", { class: "bubble" }, ...contents(message));
		return el("li", {}, needsTime(message, before) && timeLine(message.at), bubble, el("small", { class: "foot" }));
	}

	function draw(whose, all, empty, isAnew) {
		const messages = all.slice(-SHOWN);
		const isSame = whose === shown && !isAnew;
		if (!isSame) list.replaceChildren();
		const fresh = isSame ? messages.filter((message) => message.id > latest) : [];
		latest = messages.at(-1)?.id ?? -1;
		shown = whose;
		const before = new Map(messages.map((message, at) => [message.id, messages[at - 1]]));
		set(list, { "data-empty": messages.length ? null : empty });
		keepUp(
			list,
			messages,
			// A message that gets its picture or its words later is drawn again.
			(message) => `${message.id} ${message.text} ${message.media ?? message.url ?? ""}`,
			(message) => create(message, before.get(message.id)),
			(item, message) => {
				set(item, { class: `${classOf(message)}${fresh.includes(message) ? " fresh" : ""}` });
				set(item, { "data-pending": message.pending, title: exact(message.at) });
				write(item.querySelector(".foot"), foot(message));
			},
		);
		end.follow(!isSame || fresh.some((message) => message.from === "me"));
		return fresh;
	}

	return { draw };
}

/** Whether the time stands above a message: at the first, and after a pause. */
function needsTime(message, before) {
	return !before || message.at - before.at > GAP_MS;
}

function timeLine(at) {
	return el("time", { class: "when", datetime: new Date(at).toISOString(), text: exact(at).slice(0, 5) });
}
