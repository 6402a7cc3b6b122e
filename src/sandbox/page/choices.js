// The choices of this tab, which are never sent. The server's state is the same for all tabs.

import { touch } from "./changes.js";

const REMEMBERED = ["language", "theme", "openid"];

export const choices = {
	language: recall("language"),
	theme: recall("theme"),
	view: "phone",
	openid: recall("openid"),
	agent: null,
	conversations: {},
	call: null,
	isWide: false,
	follow: null,
	find: "",
	lane: "all",
	drill: null,
	isGuideClosed: false,
};

export function choose(made) {
	for (const [name, value] of Object.entries(made)) {
		choices[name] = value;
		if (REMEMBERED.includes(name)) remember(name, value);
	}
	touch("choices");
}

function recall(name) {
	try {
		return localStorage.getItem(name);
	} catch {
		return null;
	}
}

function remember(name, value) {
	try {
		localStorage.setItem(name, value);
	} catch {
		// Without storage the choice lasts until the tab is closed.
	}
}
