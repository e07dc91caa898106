/* Quintic B-splines for kernel bodies, compiled once per vector level (levels.h). */

/* Weights of a quintic B-spline at the six nodes around a place `f` after the third. */
static inline void AT_LEVEL(spline)(double f, double w[6])
{
    double g = 1 - f, f2 = f * f, g2 = g * g;
    w[0] = g2 * g2 * g / 120;
    w[5] = f2 * f2 * f / 120;
    w[2] = fma(f2, fma(f2, fma(f, -1.0 / 12, 0.25), -0.5), 0.55);
    w[3] = fma(g2, fma(g2, fma(g, -1.0 / 12, 0.25), -0.5), 0.55);
    double h = 1 + f; /* the weights' sum is 1 */
    w[1] = fma(h, fma(h, fma(h, fma(h, fma(h, 1.0 / 24, -0.375), 1.25), -1.75), 0.625), 0.425);
    w[4] = 1 - w[0] - w[1] - w[2] - w[3] - w[5];
}
