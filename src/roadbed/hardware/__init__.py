"""What machines are made of: a catalogue of chips and servers, and a probe of the machine we are on."""
