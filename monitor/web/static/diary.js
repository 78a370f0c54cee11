// The page Diary: it can be printed, or saved as PDF by the browser.
document.getElementById("print").addEventListener("click", () => print());
