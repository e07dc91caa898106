/* A Gaussian ePSF and padded images on the heap, sized exactly, so that ASan sees every step too far. */
#ifndef ROMAN_SCENE_H
#define ROMAN_SCENE_H

#include "check.h"
#include "psf_stamp.h"

#define SCENE_OVERSAMPLE 4
#define SCENE_MARGIN 67 /* px: the largest half size, and the taps around it */
#define SCENE_SIGMA 0.6 /* px */

/* Cubic B-spline coefficients are the samples themselves here: a slightly wider bell, as good a PSF. */
static inline roman_psf scene_psf(float **memory)
{
    int os = SCENE_OVERSAMPLE, planes = 2 * SCENE_MARGIN + 12;
    int size = planes * os, origin = SCENE_MARGIN * os;
    float *coef = check_alloc((size_t)size * size * sizeof *coef);
    double total = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int gy = 0; gy < size; gy++) {
            for (int gx = 0; gx < size; gx++) {
                double x = (double)(gx - origin) / os, y = (double)(gy - origin) / os;
                if (x * x + y * y > 36) continue;
                double v = exp(-0.5 * (x * x + y * y) / (SCENE_SIGMA * SCENE_SIGMA));
                int64_t at = ((int64_t)((gy % os) * os + gx % os) * planes + gy / os) * planes + gx / os;
                if (pass == 0) {
                    total += v / (os * os);
                } else {
                    coef[at] = (float)(v / total);
                }
            }
        }
    }
    *memory = coef;
    return (roman_psf){coef, os, planes, planes, origin};
}

static inline int64_t scene_pixels(const roman_frame *frame)
{
    return ((int64_t)frame->ny + 2 * frame->pad) * ((int64_t)frame->nx + 2 * frame->pad);
}

static inline float *scene_image(const roman_frame *frame, float inside)
{
    float *image = check_alloc((size_t)scene_pixels(frame) * sizeof *image);
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad;
    for (int y = 0; y < frame->ny; y++) {
        for (int x = 0; x < frame->nx; x++) {
            image[(y + frame->pad) * stride + x + frame->pad] = inside;
        }
    }
    return image;
}

#endif
