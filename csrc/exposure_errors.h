/* Fluxes and errors of the stars of exposure_fit.c. */
#ifndef ROMAN_EXPOSURE_ERRORS_H
#define ROMAN_EXPOSURE_ERRORS_H

#include "exposure_work.h"

/* Fluxes, errors, chi2 and gradients of the stars in the order of the input, after the last round. */
void roman_exposure_results(exposure_work *work, int threads, double *flux, double *flux_err, float *chi2,
                            float *gradient);

#endif
