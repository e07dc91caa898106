/* The widest vector level of the running processor. */
#ifndef ROMAN_DISPATCH_H
#define ROMAN_DISPATCH_H

/* Level to run at: `wanted` capped by what the processor has; never AUTO. */
int roman_effective_level(int wanted);

#endif
