"""The program `caravan-device-plugin`: Nomad starts it on each client and asks it of the accelerators there."""
