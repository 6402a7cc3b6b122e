// Who draws what when: parts that changed are noted, and drawn once before the next frame.

const draws = [];
const changed = new Set();
let isAsked = false;

/** `draw` runs once now-ish and then whenever one of `parts` changes; every part changes with the language. */
export function when(parts, draw) {
	draws.push({ parts: new Set([...parts, "language"]), draw });
	touch(parts[0]);
}

export function touch(...parts) {
	for (const part of parts) changed.add(part);
	if (!isAsked) {
		isAsked = true;
		requestAnimationFrame(drawAll);
	}
}

function drawAll() {
	isAsked = false;
	const now = new Set(changed);
	changed.clear();
	for (const { parts, draw } of draws) {
		if ([...now].some((part) => parts.has(part))) draw(now);
	}
}
