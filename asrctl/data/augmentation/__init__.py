"""Changes to training audio, drawn anew for each utterance and epoch: speaker, room, noise, microphone, codec."""
