// Says in JupyterLab that the instance is about to stop for want of use, and lets it be kept; or that it has stopped.
//
// A federated extension of JupyterLab 4, written by hand: what a build would make of it is this one object. It uses
// commands of JupyterLab's alone, so that it shares no module with it.
(() => {
  const EACH_MS = 10000;
  const KEEP = "ultramarine:keep-awake";
  const NOT_UP = "Instance not up"; // in the gateway's words

  const inWords = (seconds) =>
    seconds < 60 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

  const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";

  class Countdown {
    constructor(app) {
      this.app = app;
      this.shown = null; // the notification, also after somebody has closed it: it does not come again by itself
      this.about = null; // what it is about
    }

    async ask(path, options = {}) {
      const { baseUrl } = this.app.serviceManager.serverSettings;
      const answer = await fetch(`${baseUrl}ultramarine/${path}?no_track_activity=1`, options);
      const body = await answer.json();
      if (answer.ok) return body;
      const words = body.detail ? `${body.detail} ${body.hint}` : body.message;
      throw Object.assign(new Error(words || `The server answers with ${answer.status}.`), { title: body.title });
    }

    async look() {
      try {
        const { stops_in_s: left, warns } = await this.ask("idle");
        const actions = [{ label: "Keep it up for an hour", commandId: KEEP, args: {}, displayType: "accent" }];
        if (warns) await this.show("idle", `Nobody uses this instance: it stops in ${inWords(left)}.`, actions);
        else await this.dismiss();
      } catch (error) {
        // Of this JupyterLab says that the network is in the way. What else does not answer is asked again.
        if (error.title === NOT_UP) await this.show("gone", error.message, []);
      }
    }

    async show(about, message, actions) {
      if (this.about !== about) await this.dismiss();
      const { commands } = this.app;
      const told = { message, type: "warning" };
      if (this.shown === null) {
        this.about = about;
        this.shown = await commands.execute("apputils:notify", { ...told, options: { autoClose: false, actions } });
      } else {
        const id = this.shown;
        await commands.execute("apputils:update-notification", { id, ...told, autoClose: false, actions });
      }
    }

    async dismiss() {
      if (this.shown === null) return;
      await this.app.commands.execute("apputils:dismiss-notification", { id: this.shown });
      this.shown = this.about = null;
    }

    async keep() {
      const headers = { "X-XSRFToken": cookie("_xsrf") };
      let message, type;
      try {
        const { awake_until: until } = await this.ask("keep-awake", { method: "POST", headers });
        const at = new Date(until).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
        [message, type] = [`This instance stays up until ${at} at least.`, "success"];
      } catch (error) {
        [message, type] = [`It could not be kept up. ${error.message}`, "error"];
      }
      await this.dismiss();
      await this.app.commands.execute("apputils:notify", { message, type, options: { autoClose: 10000 } });
    }
  }

  const plugin = {
    id: "ultramarine:idle",
    description: "Says when this instance is about to stop for want of use.",
    autoStart: true,
    activate: (app) => {
      const countdown = new Countdown(app);
      app.commands.addCommand(KEEP, { label: "Keep This Instance Up for an Hour", execute: () => countdown.keep() });
      app.restored.then(() => countdown.look());
      setInterval(() => countdown.look(), EACH_MS);
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.ultramarine = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
