// Runs before the first paint, so that a remembered theme does not flash.
try {
	const theme = localStorage.getItem("theme");
	if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
	document.documentElement.lang = localStorage.getItem("language") ?? document.documentElement.lang;
} catch {
	// Without storage the page uses the system's theme and the bridge's language.
}
