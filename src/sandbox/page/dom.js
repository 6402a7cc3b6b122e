// Builds and updates elements. Data reaches the page as text and attributes, never as markup.

/** Creates an element. `label` names one without text; `on` holds listeners by event. */
export function el(tag, { text, label, on, ...attributes } = {}, ...children) {
	const node = document.createElement(tag);
	set(node, attributes);
	if (label) set(node, { "aria-label": label, title: label });
	if (text !== undefined) node.textContent = text;
	for (const [event, listener] of Object.entries(on ?? {})) node.addEventListener(event, listener);
	node.append(...children.filter(Boolean));
	return node;
}

/** Sets attributes; `null` and `false` remove one. Leaves equal values untouched. */
export function set(node, attributes) {
	for (const [name, value] of Object.entries(attributes)) {
		if (value == null || value === false) node.removeAttribute(name);
		else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
	}
}

export function write(node, text) {
	if (node.textContent !== String(text)) node.textContent = text;
}

export function byId(id) {
	return document.getElementById(id);
}

export function on(id, event, listener) {
	byId(id).addEventListener(event, listener);
}

/** Lets a button show and hide a group. */
export function toggles(button, group) {
	on(button, "click", () => {
		const isOpen = byId(group).hidden;
		byId(group).hidden = !isOpen;
		set(byId(button), { "aria-expanded": String(isOpen) });
	});
}

/**
 * Gives `parent` one child for each item, in order. Keeps children whose key remains, so that focus,
 * selection and a playing sound survive an update.
 */
export function updateList(parent, items, keyOf, create, update) {
	const keys = items.map((item) => String(keyOf(item)));
	const wanted = new Set(keys);
	// Remove old children first: a child that is not moved keeps the focus.
	for (const child of [...parent.children]) if (!wanted.has(child.dataset.key)) child.remove();
	const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
	let at = parent.firstElementChild;
	for (const [index, item] of items.entries()) {
		let node = present.get(keys[index]);
		if (!node) {
			node = create(item);
			node.dataset.key = keys[index];
		}
		update(node, item);
		if (node === at) at = at.nextElementSibling;
		else parent.insertBefore(node, at);
	}
}

/**
 * Keeps the end of a list in view until the user scrolls up. Call `follow` after a change, and `release`
 * to stop following.
 */
export function stickToEnd(list) {
	let isAtEnd = true;
	let top = 0;
	const follow = (always = false) => {
		measure();
		isAtEnd ||= always;
		if (isAtEnd) list.scrollTop = list.scrollHeight;
		top = list.scrollTop;
	};
	const measure = () => {
		// A list that grew is not at its end either; only the user scrolls up.
		if (list.scrollHeight - list.scrollTop - list.clientHeight < 48) isAtEnd = true;
		else if (list.scrollTop < top) isAtEnd = false;
		top = list.scrollTop;
	};
	list.addEventListener("scroll", measure);
	list.addEventListener("load", () => follow(), { capture: true });
	new ResizeObserver(() => follow()).observe(list);
	const release = () => {
		isAtEnd = false;
	};
	return { follow, release, isAtEnd: () => isAtEnd };
}

/** Lets arrows, Home and End move within a row of tabs, which is one tab stop. */
export function tabKeys(list) {
	list.addEventListener("keydown", (event) => {
		const tabs = [...list.querySelectorAll("[role=tab]")];
		const here = tabs.indexOf(document.activeElement);
		const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
		if (to === undefined || here < 0) return;
		event.preventDefault();
		const tab = tabs[(to + tabs.length) % tabs.length];
		tab.focus();
		tab.click();
	});
}

/** The keys of a listbox: `step` gets the distance in lines, infinite for the ends. */
export function listKeys(list, step) {
	const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
	list.addEventListener("keydown", (event) => {
		const by = steps[event.key];
		if (by === undefined) return;
		event.preventDefault();
		step(by);
	});
}

export const ICONS = {
	plus: "M12 5v14M5 12h14",
	image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
	voice: "M12 4a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V7a3 3 0 0 1 3-3zM6 11a6 6 0 0 0 12 0M12 17v3",
	video: "M4 6h11v12H4zM15 11l5-3v8l-5-3",
	location: "M12 21s6-6 6-11a6 6 0 0 0-12 0c0 5 6 11 6 11zM12 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
	link: "M10 14a4 4 0 0 0 6 0l2-2a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-2 2a4 4 0 0 0 6 6l1-1",
	scan: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M4 12h16",
	sticker: "M4 4h16v10l-6 6H4zM14 20v-6h6M8.5 9h.01M13.5 9h.01M8 12.5a4 4 0 0 0 6 0",
	emoji: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 10h.01M15 10h.01M8 14a5 5 0 0 0 8 0",
	file: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5",
	upload: "M12 16V5M7 10l5-5 5 5M5 20h14",
	sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1 1M18 18l1 1M5 19l1-1M18 6l1-1",
	moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
	play: "M8 5l11 7-11 7z",
	close: "M6 6l12 12M18 6L6 18",
	wide: "M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5",
};

export function icon(name) {
	const drawing = svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" });
	drawing.append(svg("path", { d: ICONS[name] }));
	return drawing;
}

export function svg(tag, attributes) {
	const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
	set(node, attributes);
	return node;
}
