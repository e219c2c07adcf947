/* What the rest of skep may do with a PL061: press the buttons wired to its pins. */
#ifndef DEVICES_PL061_H
#define DEVICES_PL061_H

struct device;

#define PL061_POWER_PIN 3               /* of the arm64 board, where gpio-keys has KEY_POWER */

/* Drives pin 0..7 high, and low again 100 ms later: longer than any debounce.  Any thread, device not locked. */
void pl061_press(struct device *, unsigned pin);

#endif
