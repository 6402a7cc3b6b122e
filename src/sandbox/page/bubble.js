// One message, as the phone and the desk show it.

import { el, ICONS, icon } from "./dom.js";
import { notice } from "./notice.js";
import { isKnown, t } from "./texts.js";

const PICTURES = ["image", "sticker", "face"];
const SOUNDS = ["voice", "sound"];
const CARDS = ["news", "miniprogrampage", "msgmenu"];

// What the desk's picker offers. The kits send the key of an emoji, and draw it.
export const EMOJI = {
	Smile: "🙂",
	Haha: "😄",
	Kiss: "😘",
	Wail: "😭",
	Ok: "👌",
	Like: "👍",
	Heart: "❤️",
	Flower: "🌸",
};

export function drawn(text) {
	return text.replace(/\[TUIEmoji_(\w+)\]/g, (key, name) => EMOJI[name] ?? key);
}

/** The elements of a message: its text, picture or sound. `source` is the URL of its file, if it has one. */
export function contents({ kind, text, name }, source) {
	const parts = [];
	// The page loads files only from the sandbox; any other URL is only a link.
	const isOurs = source?.startsWith("/api/media/");
	const isPicture = isOurs && PICTURES.includes(kind);
	if (isPicture) {
		parts.push(el("img", { src: source, alt: text || kindName(kind), loading: "lazy" }));
	} else if (isOurs && kind === "video") {
		parts.push(el("video", { src: source, controls: true, preload: "none", "aria-label": kindName(kind) }));
	} else if (SOUNDS.includes(kind)) {
		parts.push(sound(source));
	} else if (source) {
		const shown = name || text || kindName(kind);
		parts.push(el("a", { class: "attached", href: source, target: "_blank", rel: "noreferrer" }, icon("file"), shown));
		if (shown === text) return parts;
	} else if (kind in ICONS || CARDS.includes(kind)) {
		parts.push(el("span", { class: "attached" }, icon(kind in ICONS ? kind : "link"), name || kindName(kind)));
	}
	if (text && !isPicture) parts.push(el("span", { text }));
	return parts;
}

export function kindName(kind) {
	return isKnown(`kind.${kind}`) ? t(`kind.${kind}`) : kind;
}

function sound(source) {
	const bars = el("span", { class: "waves", "aria-hidden": "true" });
	for (let at = 0; at < 14; at += 1) bars.append(el("i"));
	const play = async () => {
		try {
			await new Audio(source).play();
		} catch {
			notice(t("notice.sound"));
		}
	};
	return el("button", { class: "sound", label: t("play"), disabled: !source, on: { click: play } }, icon("play"), bars);
}

/** A customer's mark: the last digits or first letter of the name, in the customer's colour. */
export function mark(name, colour) {
	const short = /\d+$/.exec(name)?.[0] ?? [...name][0] ?? "?";
	return el("span", { class: "mark", "data-colour": colour, "aria-hidden": "true", text: short });
}
