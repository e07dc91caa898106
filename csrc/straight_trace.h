/* Dispersion along a trace that is so nearly straight, and so steep, that all light which reaches a row of pixels
 * may be taken to come from the trace's place in that row, the profile being sheared by the trace's slope.
 *
 * The two-dimensional sums of dispersion.h then fall into one along the rows, for each column of a stamp's samples,
 * and one interpolation in each row: a third of the work. Between planes the shear mixes as the planes do. */
#ifndef ROMAN_STRAIGHT_TRACE_H
#define ROMAN_STRAIGHT_TRACE_H

#include "dispersion.h"

/* Whether the sheared profile is of this trace: it rises or falls throughout, and its slope nowhere differs from the
 * profile's by so much that a sample is misplaced by more than ROMAN_SHEAR_ERROR [px]. */
int roman_is_sheared_for(const roman_profile *profile, const roman_trace *trace);
#define ROMAN_SHEAR_ERROR 0.02

/* roman_disperse, or with `forward` 0 roman_disperse_adjoint, of sound arguments and a profile sheared for the trace. */
int roman_disperse_straight(const roman_profile *profile, const roman_trace *trace, double *light,
                            const roman_cutout *cutout, float *pixels, int forward, int32_t level);

#endif
