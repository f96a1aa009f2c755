//go:build !purego

#include "textflag.h"

// SHA-256 of eight messages at once, one in each 32-bit lane of the Y registers (AVX2). See lanes512_amd64.s: without
// rotations and functions of three operands a step takes twice as many instructions, and the message schedule is on the
// stack because there are half as many registers.
//
//	Y0 to Y7    the working variables
//	Y8 to Y11   scratch
//	Y12, Y13    a xor b, of this round and of the one before
//	BX          the last 16 words of the message schedule, word t at 32 (t mod 16)

// SUM3 is X>>R0 ^ X<<L0 ^ X>>R1 ^ X<<L1 ^ X>>R2, in Y8.
#define SUM3(X, R0, L0, R1, L1, R2) \
	VPSRLD R0, X, Y8 \
	VPSLLD L0, X, Y9 \
	VPSRLD R1, X, Y10 \
	VPXOR Y9, Y8, Y8 \
	VPSLLD L1, X, Y9 \
	VPXOR Y10, Y8, Y8 \
	VPSRLD R2, X, Y10 \
	VPXOR Y9, Y8, Y8 \
	VPXOR Y10, Y8, Y8

// ROUND is round t, whose word is in W. The new a is in H, the new e in D. AB becomes a xor b; BC, which is b xor c, is lost.
#define ROUND(t, A, B, C, D, E, F, G, H, AB, BC) \
	VPBROADCASTD 4*(t)(AX), Y11 \
	VPADDD 32*((t)%16)(BX), Y11, Y11 \
	VPADDD Y11, H, H \
	VPXOR F, G, Y11 \
	VPAND E, Y11, Y11 \
	VPXOR G, Y11, Y11 \
	VPADDD Y11, H, H \
	SUM3(E, $6, $26, $11, $21, $25) \
	VPSLLD $7, E, Y9 \
	VPXOR Y9, Y8, Y8 \
	VPADDD Y8, H, H \
	VPADDD H, D, D \
	VPXOR A, B, AB \
	VPAND AB, BC, BC \
	VPXOR B, BC, BC \
	VPADDD BC, H, H \
	SUM3(A, $2, $30, $13, $19, $22) \
	VPSLLD $10, A, Y9 \
	VPXOR Y9, Y8, Y8 \
	VPADDD Y8, H, H

// WORD makes word t+16 in the place of word t.
#define WORD(t) \
	VMOVDQU 32*((t+1)%16)(BX), Y11 \
	SUM3(Y11, $7, $25, $18, $14, $3) \
	VPADDD 32*((t)%16)(BX), Y8, Y15 \
	VPADDD 32*((t+9)%16)(BX), Y15, Y15 \
	VMOVDQU 32*((t+14)%16)(BX), Y11 \
	SUM3(Y11, $17, $15, $19, $13, $10) \
	VPADDD Y8, Y15, Y15 \
	VMOVDQU Y15, 32*((t)%16)(BX)

#define EIGHT(t) \
	ROUND(t+0, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y12, Y13) \
	ROUND(t+1, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y13, Y12) \
	ROUND(t+2, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y12, Y13) \
	ROUND(t+3, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y13, Y12) \
	ROUND(t+4, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y12, Y13) \
	ROUND(t+5, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y13, Y12) \
	ROUND(t+6, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y12, Y13) \
	ROUND(t+7, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y13, Y12)

#define EIGHTWITHWORDS(t) \
	ROUND(t+0, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y12, Y13) \
	WORD(t+0) \
	ROUND(t+1, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y13, Y12) \
	WORD(t+1) \
	ROUND(t+2, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y5, Y12, Y13) \
	WORD(t+2) \
	ROUND(t+3, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y4, Y13, Y12) \
	WORD(t+3) \
	ROUND(t+4, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y3, Y12, Y13) \
	WORD(t+4) \
	ROUND(t+5, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y2, Y13, Y12) \
	WORD(t+5) \
	ROUND(t+6, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y1, Y12, Y13) \
	WORD(t+6) \
	ROUND(t+7, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y0, Y13, Y12) \
	WORD(t+7)

// PAIR loads quarter q of the blocks of messages i and i+4.
#define PAIR(q, i, X, P) \
	MOVQ 8*i(DX), R8 \
	MOVQ 8*i+32(DX), R9 \
	VMOVDQU 16*q(R8)(SI*1), X \
	VINSERTI128 $1, 16*q(R9)(SI*1), P, P \
	VPSHUFB Y8, P, P

// QUARTER loads words 4q to 4q+3 of all messages.
#define QUARTER(q) \
	PAIR(q, 0, X0, Y0) \
	PAIR(q, 1, X1, Y1) \
	PAIR(q, 2, X2, Y2) \
	PAIR(q, 3, X3, Y3) \
	VPUNPCKLDQ Y1, Y0, Y4 \
	VPUNPCKHDQ Y1, Y0, Y5 \
	VPUNPCKLDQ Y3, Y2, Y6 \
	VPUNPCKHDQ Y3, Y2, Y7 \
	VPUNPCKLQDQ Y6, Y4, Y0 \
	VPUNPCKHQDQ Y6, Y4, Y1 \
	VPUNPCKLQDQ Y7, Y5, Y2 \
	VPUNPCKHQDQ Y7, Y5, Y3 \
	VMOVDQU Y0, 128*q+0(BX) \
	VMOVDQU Y1, 128*q+32(BX) \
	VMOVDQU Y2, 128*q+64(BX) \
	VMOVDQU Y3, 128*q+96(BX)

#define ADDWORD(at, X) \
	VPADDD at(DI), X, X \
	VMOVDQU X, at(DI)

// func lanes8avx2(states *[8][16]uint32, messages *[16]*byte, n int)
TEXT ·lanes8avx2(SB), NOSPLIT, $544-24
	MOVQ states+0(FP), DI
	MOVQ messages+8(FP), DX
	MOVQ n+16(FP), CX
	LEAQ ·constants(SB), AX
	LEAQ 31(SP), BX
	ANDQ $~31, BX
	XORQ SI, SI
	TESTQ CX, CX
	JZ done

loop:
	VBROADCASTI128 ·flip(SB), Y8
	QUARTER(0)
	QUARTER(1)
	QUARTER(2)
	QUARTER(3)
	VMOVDQU 0(DI), Y0
	VMOVDQU 64(DI), Y1
	VMOVDQU 128(DI), Y2
	VMOVDQU 192(DI), Y3
	VMOVDQU 256(DI), Y4
	VMOVDQU 320(DI), Y5
	VMOVDQU 384(DI), Y6
	VMOVDQU 448(DI), Y7
	VPXOR Y1, Y2, Y13
	EIGHTWITHWORDS(0)
	EIGHTWITHWORDS(8)
	EIGHTWITHWORDS(16)
	EIGHTWITHWORDS(24)
	EIGHTWITHWORDS(32)
	EIGHTWITHWORDS(40)
	EIGHT(48)
	EIGHT(56)
	ADDWORD(0, Y0)
	ADDWORD(64, Y1)
	ADDWORD(128, Y2)
	ADDWORD(192, Y3)
	ADDWORD(256, Y4)
	ADDWORD(320, Y5)
	ADDWORD(384, Y6)
	ADDWORD(448, Y7)
	ADDQ $64, SI
	DECQ CX
	JNZ loop
	VZEROUPPER

done:
	RET
