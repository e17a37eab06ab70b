"""Sign-off: evidence is gathered, gates and waivers are applied, and a verdict is written down (docs/signoff.md)."""
