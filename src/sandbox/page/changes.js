// Redraws: collects the parts that changed and draws each once before the next frame.

const draws = [];
const changed = new Set();
let isScheduled = false;

/** Runs `draw` before the next frame, and again whenever one of `parts` or the language changes. */
export function when(parts, draw) {
	draws.push({ parts: new Set([...parts, "language"]), draw });
	touch(parts[0]);
}

export function touch(...parts) {
	for (const part of parts) changed.add(part);
	if (!isScheduled) {
		isScheduled = true;
		requestAnimationFrame(drawAll);
	}
}

function drawAll() {
	isScheduled = false;
	const now = new Set(changed);
	changed.clear();
	for (const { parts, draw } of draws) {
		if ([...now].some((part) => parts.has(part))) draw(now);
	}
}
