//go:build !purego

#include "textflag.h"

// SHA-256 of many messages at once, one in each 32-bit lane of the vector registers (AVX-512 F, BW, VL). lanes16 has 16
// messages in Z registers, lanes8 the same code with eight in Y registers. A step of the algorithm (FIPS 180-4, section
// 6.2.2) is one instruction for all messages, rotations and three-operand functions of bits too (VPRORD, VPTERNLOGD).
//
//	A to H     the working variables a to h
//	W0 to W15  the last 16 words of the message schedule, word t in W(t mod 16)
//	T0 to T3   scratch
//	AX         the constants K
//	DX         the array of pointers to the messages
//	SI         bytes taken of each message so far
//	DI         the state: word by word, 16 messages each

// Tables of truth for VPTERNLOGD. The first operand of the table is the destination.
#define XOR3 $0x96
#define CHOOSE $0xca
#define MAJORITY $0xe8

// SIGMA is a xor of three rotations of X, in T2.
#define SIGMA(X, R0, R1, R2) \
	VPRORD R0, X, T0 \
	VPRORD R1, X, T1 \
	VPRORD R2, X, T2 \
	VPTERNLOGD XOR3, T0, T1, T2

// ROUND is round t, whose word is in W. The new a is in H, the new e in D.
#define ROUND(t, A, B, C, D, E, F, G, H, W) \
	VPADDD.BCST 4*(t)(AX), W, T3 \
	VPADDD T3, H, H \
	VMOVDQA32 E, T3 \
	VPTERNLOGD CHOOSE, G, F, T3 \
	VPADDD T3, H, H \
	SIGMA(E, $6, $11, $25) \
	VPADDD T2, H, H \
	VPADDD H, D, D \
	VMOVDQA32 A, T3 \
	VPTERNLOGD MAJORITY, C, B, T3 \
	VPADDD T3, H, H \
	SIGMA(A, $2, $13, $22) \
	VPADDD T2, H, H

// WORD makes word t+16 in the place of word t, V0, of words t+1, t+9, t+14.
#define WORD(V0, V1, V9, V14) \
	VPRORD $7, V1, T0 \
	VPRORD $18, V1, T1 \
	VPSRLD $3, V1, T2 \
	VPTERNLOGD XOR3, T0, T1, T2 \
	VPADDD V9, V0, V0 \
	VPADDD T2, V0, V0 \
	VPRORD $17, V14, T0 \
	VPRORD $19, V14, T1 \
	VPSRLD $10, V14, T2 \
	VPTERNLOGD XOR3, T0, T1, T2 \
	VPADDD T2, V0, V0

// ROUNDS are rounds t to t+15, STEPS are these and the words of the 16 rounds behind them.
#define ROUNDS(t) \
	ROUND(t+0, A, B, C, D, E, F, G, H, W0) \
	ROUND(t+1, H, A, B, C, D, E, F, G, W1) \
	ROUND(t+2, G, H, A, B, C, D, E, F, W2) \
	ROUND(t+3, F, G, H, A, B, C, D, E, W3) \
	ROUND(t+4, E, F, G, H, A, B, C, D, W4) \
	ROUND(t+5, D, E, F, G, H, A, B, C, W5) \
	ROUND(t+6, C, D, E, F, G, H, A, B, W6) \
	ROUND(t+7, B, C, D, E, F, G, H, A, W7) \
	ROUND(t+8, A, B, C, D, E, F, G, H, W8) \
	ROUND(t+9, H, A, B, C, D, E, F, G, W9) \
	ROUND(t+10, G, H, A, B, C, D, E, F, W10) \
	ROUND(t+11, F, G, H, A, B, C, D, E, W11) \
	ROUND(t+12, E, F, G, H, A, B, C, D, W12) \
	ROUND(t+13, D, E, F, G, H, A, B, C, W13) \
	ROUND(t+14, C, D, E, F, G, H, A, B, W14) \
	ROUND(t+15, B, C, D, E, F, G, H, A, W15)

#define STEPS(t) \
	ROUND(t+0, A, B, C, D, E, F, G, H, W0) \
	WORD(W0, W1, W9, W14) \
	ROUND(t+1, H, A, B, C, D, E, F, G, W1) \
	WORD(W1, W2, W10, W15) \
	ROUND(t+2, G, H, A, B, C, D, E, F, W2) \
	WORD(W2, W3, W11, W0) \
	ROUND(t+3, F, G, H, A, B, C, D, E, W3) \
	WORD(W3, W4, W12, W1) \
	ROUND(t+4, E, F, G, H, A, B, C, D, W4) \
	WORD(W4, W5, W13, W2) \
	ROUND(t+5, D, E, F, G, H, A, B, C, W5) \
	WORD(W5, W6, W14, W3) \
	ROUND(t+6, C, D, E, F, G, H, A, B, W6) \
	WORD(W6, W7, W15, W4) \
	ROUND(t+7, B, C, D, E, F, G, H, A, W7) \
	WORD(W7, W8, W0, W5) \
	ROUND(t+8, A, B, C, D, E, F, G, H, W8) \
	WORD(W8, W9, W1, W6) \
	ROUND(t+9, H, A, B, C, D, E, F, G, W9) \
	WORD(W9, W10, W2, W7) \
	ROUND(t+10, G, H, A, B, C, D, E, F, W10) \
	WORD(W10, W11, W3, W8) \
	ROUND(t+11, F, G, H, A, B, C, D, E, W11) \
	WORD(W11, W12, W4, W9) \
	ROUND(t+12, E, F, G, H, A, B, C, D, W12) \
	WORD(W12, W13, W5, W10) \
	ROUND(t+13, D, E, F, G, H, A, B, C, W13) \
	WORD(W13, W14, W6, W11) \
	ROUND(t+14, C, D, E, F, G, H, A, B, W14) \
	WORD(W14, W15, W7, W12) \
	ROUND(t+15, B, C, D, E, F, G, H, A, W15) \
	WORD(W15, W0, W8, W13)

// LOADSTATE and ADDSTATE are the ends of a block: the state is in memory between them.
#define LOADSTATE \
	VMOVDQU32 0(DI), A \
	VMOVDQU32 64(DI), B \
	VMOVDQU32 128(DI), C \
	VMOVDQU32 192(DI), D \
	VMOVDQU32 256(DI), E \
	VMOVDQU32 320(DI), F \
	VMOVDQU32 384(DI), G \
	VMOVDQU32 448(DI), H

#define ADDWORD(at, X) \
	VPADDD at(DI), X, X \
	VMOVDQU32 X, at(DI)

#define ADDSTATE \
	ADDWORD(0, A) \
	ADDWORD(64, B) \
	ADDWORD(128, C) \
	ADDWORD(192, D) \
	ADDWORD(256, E) \
	ADDWORD(320, F) \
	ADDWORD(384, G) \
	ADDWORD(448, H)

#define BLOCK \
	LOADSTATE \
	STEPS(0) \
	STEPS(16) \
	STEPS(32) \
	ROUNDS(48) \
	ADDSTATE

// TRANSPOSE4 transposes each 4 x 4 words of the rows P0 to P3. Scratch is Q0 to Q3.
#define TRANSPOSE4(P0, P1, P2, P3, Q0, Q1, Q2, Q3) \
	VPUNPCKLDQ P1, P0, Q0 \
	VPUNPCKHDQ P1, P0, Q1 \
	VPUNPCKLDQ P3, P2, Q2 \
	VPUNPCKHDQ P3, P2, Q3 \
	VPUNPCKLQDQ Q2, Q0, P0 \
	VPUNPCKHQDQ Q2, Q0, P1 \
	VPUNPCKLQDQ Q3, Q1, P2 \
	VPUNPCKHQDQ Q3, Q1, P3

#define A Z0
#define B Z1
#define C Z2
#define D Z3
#define E Z4
#define F Z5
#define G Z6
#define H Z7
#define T0 Z8
#define T1 Z9
#define T2 Z10
#define T3 Z11
#define W0 Z16
#define W1 Z17
#define W2 Z18
#define W3 Z19
#define W4 Z20
#define W5 Z21
#define W6 Z22
#define W7 Z23
#define W8 Z24
#define W9 Z25
#define W10 Z26
#define W11 Z27
#define W12 Z28
#define W13 Z29
#define W14 Z30
#define W15 Z31

// ROW loads 16 words of message i.
#define ROW(i, P) \
	MOVQ 8*i(DX), R8 \
	VMOVDQU32 (R8)(SI*1), P \
	VPSHUFB Z15, P, P

// TRANSPOSEQ transposes 4 x 4 quarters of the registers P0 to P3.
#define TRANSPOSEQ(P0, P1, P2, P3) \
	VSHUFI32X4 $0x44, P1, P0, Z0 \
	VSHUFI32X4 $0xee, P1, P0, Z1 \
	VSHUFI32X4 $0x44, P3, P2, Z2 \
	VSHUFI32X4 $0xee, P3, P2, Z3 \
	VSHUFI32X4 $0x88, Z2, Z0, P0 \
	VSHUFI32X4 $0xdd, Z2, Z0, P1 \
	VSHUFI32X4 $0x88, Z3, Z1, P2 \
	VSHUFI32X4 $0xdd, Z3, Z1, P3

// func lanes16(states *[8][16]uint32, messages *[16]*byte, n int)
TEXT ·lanes16(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DI
	MOVQ messages+8(FP), DX
	MOVQ n+16(FP), CX
	LEAQ ·constants(SB), AX
	VBROADCASTI32X4 ·flip(SB), Z15
	XORQ SI, SI
	TESTQ CX, CX
	JZ done16

loop16:
	ROW(0, W0)
	ROW(1, W1)
	ROW(2, W2)
	ROW(3, W3)
	TRANSPOSE4(W0, W1, W2, W3, Z0, Z1, Z2, Z3)
	ROW(4, W4)
	ROW(5, W5)
	ROW(6, W6)
	ROW(7, W7)
	TRANSPOSE4(W4, W5, W6, W7, Z4, Z5, Z6, Z7)
	ROW(8, W8)
	ROW(9, W9)
	ROW(10, W10)
	ROW(11, W11)
	TRANSPOSE4(W8, W9, W10, W11, Z0, Z1, Z2, Z3)
	ROW(12, W12)
	ROW(13, W13)
	ROW(14, W14)
	ROW(15, W15)
	TRANSPOSE4(W12, W13, W14, W15, Z4, Z5, Z6, Z7)
	TRANSPOSEQ(W0, W4, W8, W12)
	TRANSPOSEQ(W1, W5, W9, W13)
	TRANSPOSEQ(W2, W6, W10, W14)
	TRANSPOSEQ(W3, W7, W11, W15)
	BLOCK
	ADDQ $64, SI
	DECQ CX
	JNZ loop16
	VZEROUPPER

done16:
	RET

#undef A
#undef B
#undef C
#undef D
#undef E
#undef F
#undef G
#undef H
#undef T0
#undef T1
#undef T2
#undef T3
#undef W0
#undef W1
#undef W2
#undef W3
#undef W4
#undef W5
#undef W6
#undef W7
#undef W8
#undef W9
#undef W10
#undef W11
#undef W12
#undef W13
#undef W14
#undef W15
#define A Y0
#define B Y1
#define C Y2
#define D Y3
#define E Y4
#define F Y5
#define G Y6
#define H Y7
#define T0 Y8
#define T1 Y9
#define T2 Y10
#define T3 Y11
#define W0 Y16
#define W1 Y17
#define W2 Y18
#define W3 Y19
#define W4 Y20
#define W5 Y21
#define W6 Y22
#define W7 Y23
#define W8 Y24
#define W9 Y25
#define W10 Y26
#define W11 Y27
#define W12 Y28
#define W13 Y29
#define W14 Y30
#define W15 Y31

// PAIR loads quarter q of the blocks of messages i and i+4.
#define PAIR(q, i, X, P) \
	MOVQ 8*i(DX), R8 \
	MOVQ 8*i+32(DX), R9 \
	VMOVDQU32 16*q(R8)(SI*1), X \
	VINSERTI32X4 $1, 16*q(R9)(SI*1), P, P \
	VPSHUFB Y15, P, P

// func lanes8(states *[8][16]uint32, messages *[16]*byte, n int)
TEXT ·lanes8(SB), NOSPLIT, $0-24
	MOVQ states+0(FP), DI
	MOVQ messages+8(FP), DX
	MOVQ n+16(FP), CX
	LEAQ ·constants(SB), AX
	VBROADCASTI32X4 ·flip(SB), Y15
	XORQ SI, SI
	TESTQ CX, CX
	JZ done8

loop8:
	PAIR(0, 0, X16, Y16)
	PAIR(0, 1, X17, Y17)
	PAIR(0, 2, X18, Y18)
	PAIR(0, 3, X19, Y19)
	TRANSPOSE4(W0, W1, W2, W3, Y0, Y1, Y2, Y3)
	PAIR(1, 0, X20, Y20)
	PAIR(1, 1, X21, Y21)
	PAIR(1, 2, X22, Y22)
	PAIR(1, 3, X23, Y23)
	TRANSPOSE4(W4, W5, W6, W7, Y4, Y5, Y6, Y7)
	PAIR(2, 0, X24, Y24)
	PAIR(2, 1, X25, Y25)
	PAIR(2, 2, X26, Y26)
	PAIR(2, 3, X27, Y27)
	TRANSPOSE4(W8, W9, W10, W11, Y0, Y1, Y2, Y3)
	PAIR(3, 0, X28, Y28)
	PAIR(3, 1, X29, Y29)
	PAIR(3, 2, X30, Y30)
	PAIR(3, 3, X31, Y31)
	TRANSPOSE4(W12, W13, W14, W15, Y4, Y5, Y6, Y7)
	BLOCK
	ADDQ $64, SI
	DECQ CX
	JNZ loop8
	VZEROUPPER

done8:
	RET
