"""OHIF's settings, as MONAI Label ships them, and two repairs of its OHIF (3.10.0-beta.5).

Two of its commands are called `storeSegmentation`. Export DICOM SEG runs the one that must be told where to, without
telling it, and fails with "Cannot read properties of undefined (reading 'store')". The other one, which OHIF keeps
among those of its viewports, knows. And its mode MONAI Label looks for the server at port 8000, or where its cookie
says, whichever port the page is from.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import Response
from monailabel.endpoints import ohif

FILE = Path(ohif.__file__).parent / "static" / "ohif" / "app-config.js"
REPAIRS = """
document.cookie = `MONAILABEL_SERVER_URL=${escape(`${window.location.origin}/`)}`;
(() => {
  let manager;
  Object.defineProperty(window, 'commandsManager', {
    configurable: true,
    get: () => manager,
    set: given => {
      manager = given;
      const run = given.runCommand.bind(given);
      given.runCommand = (name, options, context) =>
        run(name, options, name === 'storeSegmentation' && !options?.dataSource ? 'CORNERSTONE' : context);
    },
  });
})();
"""


def app_config() -> Response:
    """The file that OHIF runs before all else."""
    return Response(FILE.read_text(encoding="utf-8") + REPAIRS, media_type="text/javascript")
