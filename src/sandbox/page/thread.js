// A list of bubbles that is kept up, stays at its end, and tells which messages are new.

import { needsTime, timeLine } from "./bubble.js";
import { el, keepUp, set, stickToEnd, write } from "./dom.js";
import { exact } from "./texts.js";

// More than anybody scrolls back through; the sandbox itself keeps more.
const SHOWN = 200;

/** `draw(whose, messages)` shows them, and gives those that came since the last time the same list was shown. */
export function bubbleList(list, { classOf, contents, foot }) {
	const end = stickToEnd(list);
	let shown = null;
	let latest = -1;

	function create(message, before) {
		const bubble = el("div", { class: "bubble" }, ...contents(message));
		const remark = el("small", { class: "foot" });
		const item = el("li", {}, needsTime(message, before) ? timeLine(message.at) : null, bubble, remark);
		return item;
	}

	function draw(whose, all, empty, isAnew = false) {
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
				set(item, { "data-pending": message.pending ? "true" : null, title: exact(message.at) });
				write(item.querySelector(".foot"), foot(message));
			},
		);
		end.follow(!isSame || fresh.some((message) => message.from === "me"));
		return fresh;
	}

	return { draw };
}
