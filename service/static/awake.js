// A display must not go to sleep in the middle of an operation.

export function keepAwake() {
  const ask = () => {
    if (document.visibilityState !== "visible") return;
    navigator.wakeLock?.request("screen").catch(() => {}); // refused: as the screen is set up
  };
  document.addEventListener("visibilitychange", ask); // a hidden page loses it
  ask();
}
